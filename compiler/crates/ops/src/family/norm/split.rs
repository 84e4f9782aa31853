//! Loop nests of statistics: the dimensions of a tensor split into kept and reduced ones.

use crate::loops::{self, load_wide, map, reduce, wide};
use mnnc_ir::DType;
use mnnc_ir::compute::{Combine, Stage};
use mnnc_ir::scalar::{Expr, ScalarBuilder, Source};

/// Dimensions of a tensor, split.
pub(crate) struct Split {
    /// The tensor's shape.
    pub dims: Vec<usize>,
    /// Which dimensions a statistic runs over.
    pub reduced: Vec<bool>,
}

impl Split {
    /// Statistics over the dimensions for which `reduced` holds.
    pub fn new(dims: Vec<usize>, reduced: impl Fn(usize) -> bool) -> Split {
        let reduced = (0..dims.len()).map(reduced).collect();
        Split { dims, reduced }
    }
    fn extents(&self, reduced: bool) -> Vec<usize> {
        self.dims.iter().zip(&self.reduced).filter(|(_, r)| **r == reduced).map(|(&n, _)| n).collect()
    }
    /// Elements that one statistic is taken over.
    pub fn count(&self) -> usize {
        self.extents(true).iter().product()
    }
    /// In a statistic's nest (kept loops, then reduced ones): the index of the element.
    pub fn element(&self, b: &mut ScalarBuilder) -> Vec<Expr> {
        let (mut kept, mut inner) = (0, self.extents(false).len());
        let next = |&r: &bool| {
            let at = if r { &mut inner } else { &mut kept };
            *at += 1;
            b.axis(*at - 1)
        };
        self.reduced.iter().map(next).collect()
    }
    /// In a statistic's nest: its own index.
    pub fn own(&self, b: &mut ScalarBuilder) -> Vec<Expr> {
        loops::axes(b, self.extents(false).len())
    }
    /// In a nest over the whole tensor: the index of the element's statistic.
    pub fn statistic(&self, b: &mut ScalarBuilder) -> Vec<Expr> {
        (0..self.dims.len()).filter(|&i| !self.reduced[i]).map(|i| b.axis(i)).collect()
    }
    /// The statistic `combine` over `body(element)`.
    pub fn reduce(&self, combine: Combine, body: impl FnOnce(&mut ScalarBuilder, Vec<Expr>) -> Expr) -> Stage {
        let mut b = ScalarBuilder::new();
        let index = self.element(&mut b);
        let body = body(&mut b, index);
        reduce(self.extents(false), self.extents(true), combine, b, body)
    }
    /// A stage that turns each value of statistic `stage` into `f` of it.
    pub fn finish(&self, stage: usize, d: DType, f: impl FnOnce(&mut ScalarBuilder, Expr) -> Expr) -> Stage {
        let mut b = ScalarBuilder::new();
        let index = self.own(&mut b);
        let x = b.load(Source::Stage(stage), index, d);
        let y = f(&mut b, x);
        map(self.extents(false), b, y)
    }
    /// Appends the stages of the mean of input 0, of element type `d`; returns the number of the last.
    pub fn mean(&self, stages: &mut Vec<Stage>, d: DType) -> usize {
        stages.push(self.reduce(Combine::Sum, |b, at| load_wide(b, Source::Input(0), at, d, None, 0.0)));
        self.divide_by_count(stages, wide(d))
    }
    /// Appends the stages of the variance of input 0 about the mean in stage `mean`.
    pub fn variance(&self, stages: &mut Vec<Stage>, d: DType, mean: usize) -> usize {
        stages.push(self.reduce(Combine::Sum, |b, at| {
            let x = load_wide(b, Source::Input(0), at, d, None, 0.0);
            let own = self.own(b);
            let m = b.load(Source::Stage(mean), own, wide(d));
            let centred = b.sub(x, m);
            b.mul(centred, centred)
        }));
        self.divide_by_count(stages, wide(d))
    }
    /// Appends a stage that divides the last one by the number of elements.
    pub fn divide_by_count(&self, stages: &mut Vec<Stage>, d: DType) -> usize {
        let count = self.count() as f64;
        stages.push(self.finish(stages.len() - 1, d, |b, x| {
            let n = b.lit(count, x);
            b.div(x, n)
        }));
        stages.len() - 1
    }
    /// Calls `f` for each group of elements with their positions in the flat tensor.
    pub fn groups(&self) -> Vec<Vec<usize>> {
        let strides = crate::broadcast::strides(&self.dims);
        let offsets = |reduced: bool| {
            let mut out = vec![0];
            for (i, &n) in self.dims.iter().enumerate().filter(|(i, _)| self.reduced[*i] == reduced) {
                out = out.iter().flat_map(|&o| (0..n).map(move |k| (o, k))).map(|(o, k)| o + k * strides[i]).collect();
            }
            out
        };
        let inner = offsets(true);
        offsets(false).into_iter().map(|o| inner.iter().map(|i| o + i).collect()).collect()
    }
}
