//! Attention over strided views: what one `multi_head_attention` computes, all sizes known.

use mnnc_ir::{Attrs, OpCtx, OpError};

/// A tensor seen as matrices, one for each index of the batch loops. In elements, from the start of the tensor:
/// `offset + Σ batch index * stride + i * row + j * col`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MatrixView {
    /// First element.
    pub offset: usize,
    /// Steps of the batch loops; 0 where the matrix is shared.
    pub batch: Vec<usize>,
    /// From one row to the next.
    pub row: usize,
    /// From one column to the next.
    pub col: usize,
}

impl MatrixView {
    fn read(values: &[i64]) -> Option<MatrixView> {
        let v: Vec<usize> = values.iter().map(|&x| usize::try_from(x).ok()).collect::<Option<_>>()?;
        let [offset, batch @ .., row, col] = &v[..] else { return None };
        Some(MatrixView { offset: *offset, batch: batch.to_vec(), row: *row, col: *col })
    }

    fn write(&self, out: &mut Vec<i64>) {
        let all = [self.offset].into_iter().chain(self.batch.iter().copied()).chain([self.row, self.col]);
        out.extend(all.map(|x| x as i64));
    }

    /// Elements from the start of the tensor to the end of the last one that is seen; `None` if that overflows.
    pub fn extent(&self, batch: &[usize], rows: usize, cols: usize) -> Option<usize> {
        let loops = self.loops(batch, rows, cols);
        let last = loops.iter().try_fold(self.offset, |a, &(n, s)| a.checked_add(n.checked_sub(1)?.checked_mul(s)?))?;
        last.checked_add(1)
    }

    /// Extent and step of each loop over the elements, batch loops first.
    pub fn loops(&self, batch: &[usize], rows: usize, cols: usize) -> Vec<(usize, usize)> {
        let outer = batch.iter().copied().zip(self.batch.iter().copied());
        outer.chain([(rows, self.row), (cols, self.col)]).collect()
    }

    /// Position of the matrix of batch index `i`, the batch loops counted as one.
    pub fn start(&self, batch: &[usize], mut i: usize) -> usize {
        let mut at = self.offset;
        for (&n, &s) in batch.iter().zip(&self.batch).rev() {
            at += i % n * s;
            i /= n;
        }
        at
    }
}

/// `y = softmax(scale · q kᵀ + Σ masks) v` for every index of the batch loops.
#[derive(Clone, PartialEq, Debug)]
pub struct StridedAttention {
    /// Extents of the batch loops: batch elements, heads, windows.
    pub batch: Vec<usize>,
    /// Rows of q and y.
    pub queries: usize,
    /// Rows of k and v.
    pub keys: usize,
    /// Columns of q and k.
    pub depth: usize,
    /// Columns of v and y.
    pub width: usize,
    /// `[queries, depth]`.
    pub q: MatrixView,
    /// `[keys, depth]`.
    pub k: MatrixView,
    /// `[keys, width]`.
    pub v: MatrixView,
    /// Addends of the scores, `[queries, keys]` each.
    pub masks: Vec<MatrixView>,
    /// `[queries, width]`.
    pub y: MatrixView,
    /// Shape of the result, each element of which is in exactly one matrix.
    pub dims: Vec<usize>,
    /// Factor of the scores, before the masks.
    pub scale: f32,
    /// A query sees keys up to its own position only.
    pub causal: bool,
    /// A query that sees no key, because all its scores are -∞, gives 0 instead of NaN.
    pub zero_blind: bool,
}

impl StridedAttention {
    /// The attributes that say this.
    pub fn attrs(&self) -> Attrs {
        let list = |v: &[usize]| v.iter().map(|&x| x as i64).collect::<Vec<i64>>();
        let view = |m: &MatrixView| {
            let mut out = Vec::new();
            m.write(&mut out);
            out
        };
        let mut masks = Vec::new();
        self.masks.iter().for_each(|m| m.write(&mut masks));
        Attrs::new()
            .with("batch", list(&self.batch))
            .with("sizes", list(&[self.queries, self.keys, self.depth, self.width]))
            .with("q_view", view(&self.q))
            .with("k_view", view(&self.k))
            .with("v_view", view(&self.v))
            .with("mask_views", masks)
            .with("y_view", view(&self.y))
            .with("dims", list(&self.dims))
            .with("scale", self.scale)
            .with("is_causal", self.causal)
            .with("zero_blind", self.zero_blind)
    }

    /// Reads the attributes of a node and checks them against its inputs: q, k, v, then the masks.
    ///
    /// # Errors
    /// Views of another form, beyond their tensors, or a result that they do not cover once.
    pub fn read(ctx: &OpCtx) -> Result<StridedAttention, OpError> {
        let list = |name: &str| -> Result<Vec<usize>, OpError> {
            let v = ctx.ints(name).ok_or_else(|| OpError::invalid(format!("attribute {name} is missing")))?;
            let v: Option<Vec<usize>> = v.into_iter().map(|x| usize::try_from(x).ok()).collect();
            v.ok_or_else(|| OpError::invalid(format!("attribute {name} has a negative number")))
        };
        let batch = list("batch")?;
        let &[queries, keys, depth, width] = &list("sizes")?[..] else {
            return Err(OpError::invalid("sizes must be queries, keys, depth, width"));
        };
        let view = |name: &str, values: &[i64]| {
            MatrixView::read(values)
                .filter(|m| m.batch.len() == batch.len())
                .ok_or_else(|| OpError::invalid(format!("{name} is no view with {} batch loops", batch.len())))
        };
        let named = |name: &str| view(name, &ctx.ints(name).unwrap_or_default());
        let count = ctx.inputs.len().saturating_sub(3);
        let flat = ctx.ints("mask_views").unwrap_or_default();
        if flat.len() != count * (batch.len() + 3) {
            return Err(OpError::invalid(format!("{count} masks do not go with mask_views of {} numbers", flat.len())));
        }
        let masks = flat.chunks_exact(batch.len() + 3).map(|m| view("mask_views", m)).collect::<Result<_, _>>()?;
        let a = StridedAttention {
            queries,
            keys,
            depth,
            width,
            q: named("q_view")?,
            k: named("k_view")?,
            v: named("v_view")?,
            masks,
            y: named("y_view")?,
            dims: list("dims")?,
            scale: ctx.float("scale").unwrap_or(1.0),
            causal: ctx.flag("is_causal"),
            zero_blind: ctx.flag("zero_blind"),
            batch,
        };
        a.check(ctx)?;
        Ok(a)
    }

    /// Number of matrices; `None` if it overflows.
    pub fn matrices(&self) -> Option<usize> {
        self.batch.iter().try_fold(1usize, |a, &n| a.checked_mul(n))
    }

    fn check(&self, ctx: &OpCtx) -> Result<(), OpError> {
        let sizes = [self.queries, self.keys, self.depth, self.width];
        if sizes.contains(&0) || self.batch.contains(&0) {
            return Err(OpError::invalid("attention of nothing"));
        }
        let mut views = vec![
            (&self.q, self.queries, self.depth),
            (&self.k, self.keys, self.depth),
            (&self.v, self.keys, self.width),
        ];
        views.extend(self.masks.iter().map(|m| (m, self.queries, self.keys)));
        for (i, (m, rows, cols)) in views.into_iter().enumerate() {
            let have: usize = ctx.static_dims(i)?.iter().product();
            if m.extent(&self.batch, rows, cols).is_none_or(|n| n > have) {
                return Err(OpError::invalid(format!("the view of input {i} leaves its {have} elements")));
            }
        }
        // Sorted by step, each loop must go on where the inner ones end.
        let mut loops = self.y.loops(&self.batch, self.queries, self.width);
        loops.retain(|l| l.0 != 1);
        loops.sort_by_key(|l| l.1);
        let dense = loops.iter().try_fold(1usize, |a, &(n, s)| if s == a { a.checked_mul(n) } else { None });
        let elements = self.dims.iter().try_fold(1usize, |a, &n| a.checked_mul(n));
        if self.y.offset != 0 || dense.is_none() || dense != elements {
            return Err(OpError::invalid("y_view does not cover the result once"));
        }
        Ok(())
    }
}
