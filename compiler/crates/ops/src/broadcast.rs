//! Multidirectional broadcasting, as NumPy and ONNX define it: shapes align at the right, a 1 stretches.

use mnnc_ir::types::Dims;
use mnnc_ir::{Dim, OpError, SymTable};

/// The common shape. Of a symbolic and a known size other than 1, the known one is taken: the symbolic one can only be
/// that or 1. Two different symbolic sizes give a fresh one.
pub fn broadcast<'a>(shapes: impl IntoIterator<Item = &'a [Dim]>, syms: &mut SymTable) -> Result<Dims, OpError> {
    let mut out = Dims::new();
    for shape in shapes {
        while out.len() < shape.len() {
            out.insert(0, Dim::Const(1));
        }
        let skip = out.len() - shape.len();
        for (o, &d) in out[skip..].iter_mut().zip(shape) {
            *o = match (*o, d) {
                (x, y) if x == y => x,
                (Dim::Const(1), y) => y,
                (x, Dim::Const(1)) => x,
                (Dim::Const(x), Dim::Const(y)) => {
                    return Err(OpError::invalid(format!(
                        "sizes {x} and {y} do not broadcast; make them equal, or one of them 1"
                    )));
                }
                (x @ Dim::Const(_), Dim::Sym(_)) => x,
                (Dim::Sym(_), y @ Dim::Const(_)) => y,
                (Dim::Sym(_), Dim::Sym(_)) => syms.fresh(),
            };
        }
    }
    Ok(out)
}

/// [`broadcast`] of known shapes.
pub fn broadcast_static(shapes: &[&[usize]]) -> Result<Vec<usize>, OpError> {
    let dims: Vec<Dims> = shapes.iter().map(|s| s.iter().map(|&d| Dim::from(d)).collect()).collect();
    let out = broadcast(dims.iter().map(|d| &d[..]), &mut SymTable::default())?;
    Ok(out.iter().filter_map(|d| d.known()).map(|n| n as usize).collect())
}

/// For each dimension of `out`, the step in elements of a dense tensor of shape `dims` that is broadcast to it: 0 where
/// it stretches.
pub fn broadcast_strides(dims: &[usize], out: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; out.len()];
    let skip = out.len().saturating_sub(dims.len());
    let mut step = 1;
    for i in (0..dims.len()).rev() {
        if dims[i] != 1 {
            strides[skip + i] = step;
        }
        step *= dims[i];
    }
    strides
}

/// Row-major strides of a dense tensor, in elements.
pub fn strides(dims: &[usize]) -> Vec<usize> {
    let mut out = vec![1; dims.len()];
    for i in (1..dims.len()).rev() {
        out[i - 1] = out[i] * dims[i];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_align_at_the_right() {
        assert_eq!(broadcast_static(&[&[2, 1, 4], &[3, 1], &[]]), Ok(vec![2, 3, 4]));
        assert_eq!(broadcast_static(&[&[0, 3], &[1]]), Ok(vec![0, 3]));
        assert!(broadcast_static(&[&[2], &[3]]).is_err());
        assert_eq!(broadcast_strides(&[3, 1], &[2, 3, 4]), [0, 1, 0]);
        assert_eq!(strides(&[2, 3, 4]), [12, 4, 1]);
    }

    #[test]
    fn symbols_keep_what_is_known() {
        let mut s = SymTable::default();
        let n = s.named("n");
        let m = s.named("m");
        let bc = |s: &mut SymTable, a, b| broadcast([&[a][..], &[b][..]], s).map(|d| d[0]);
        assert_eq!(bc(&mut s, n, Dim::Const(1)), Ok(n));
        assert_eq!(bc(&mut s, n, Dim::Const(7)), Ok(Dim::Const(7)));
        assert_eq!(bc(&mut s, n, n), Ok(n));
        let fresh = bc(&mut s, n, m);
        assert!(fresh.is_ok_and(|f| f != n && f != m));
    }
}
