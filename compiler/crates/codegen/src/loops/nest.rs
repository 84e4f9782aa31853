//! The loops of one kernel, over several units at once where it reduces.
//!
//! A sum is a chain of additions, each waiting for the one before. Neighbouring units have chains of their own and read
//! much of the same: jammed into one loop nest they share those loads and the index arithmetic, and their chains overlap. The order of every sum
//! stays what it was. (Measured: squeezenet without vector kernels runs twice as fast.)

use super::address::{Linear, offset};
use super::convert::{cast, class, literal, store};
use super::eval::Eval;
use super::repeated;
use crate::CodegenError;
use crate::math::Helpers;
use cranelift_codegen::ir::types::{F64, I64};
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_frontend::{FunctionBuilder, Variable};
use cranelift_module::Module;
use mnnc_ir::DType;
use mnnc_ir::compute::{Combine, Reduction};
use mnnc_ir::scalar::Binary;
use mnnc_kernel::{LoopKernel, Storage};

/// Units at once: as many as it takes to hide the latency of an addition.
const JAM: usize = 4;

/// How many units are jammed, and the extent of the dimension in which they are neighbours; `None` if it does not pay.
pub(super) fn jam(k: &LoopKernel) -> Option<(usize, usize)> {
    let extent = *k.stage.dims[..k.unit_dims].last()?;
    let terms: usize = k.stage.reduce.as_ref()?.dims.iter().product();
    (extent >= JAM && terms >= JAM).then_some((JAM, extent))
}

pub(super) struct Nest<'a> {
    pub k: &'a LoopKernel,
    pub module: &'a mut dyn Module,
    pub helpers: &'a mut Helpers,
    pub inputs: Vec<(Value, Storage)>,
    pub output: Value,
}

/// For each unit that is computed, the index along each loop so far.
type Axes = Vec<Vec<Linear>>;

impl Nest<'_> {
    /// `count` units from `unit` on, which differ in the last of their dimensions only.
    pub fn unit(&mut self, b: &mut FunctionBuilder, unit: Value, count: usize) -> Result<(), CodegenError> {
        let axes = unit_axes(b, unit, &self.k.stage.dims[..self.k.unit_dims]);
        let neighbour = |j: usize| {
            let mut axes = axes.clone();
            if let Some(last) = axes.last_mut() {
                last.constant += j as i64;
            }
            axes
        };
        self.inner(b, &mut (0..count).map(neighbour).collect())
    }

    /// The loops inside a unit, from the first dimension that has no index yet on.
    fn inner(&mut self, b: &mut FunctionBuilder, axes: &mut Axes) -> Result<(), CodegenError> {
        let dims = &self.k.stage.dims;
        if let Some(&n) = dims.get(axes[0].len()) {
            return repeated(b, n, &mut |b, i| {
                axes.iter_mut().for_each(|a| a.push(Linear::value(i)));
                let r = self.inner(b, axes);
                axes.iter_mut().for_each(|a| drop(a.pop()));
                r
            });
        }
        let results = match &self.k.stage.reduce {
            None => axes.iter().map(|a| self.eval(b, a)).collect::<Result<Vec<_>, _>>()?,
            Some(r) => self.reduce(b, axes, r)?,
        };
        for (axes, x) in axes.iter().zip(results) {
            let at = offset(b, &self.k.output, axes);
            let (at, displacement) = at.address(b, self.output);
            store(b, self.k.output.dtype, x, at, displacement);
        }
        Ok(())
    }

    fn evaluator<'b, 'f>(&'b mut self, b: &'b mut FunctionBuilder<'f>, axes: &'b [Linear]) -> Eval<'b, 'f> {
        let Nest { k, module, helpers, inputs, .. } = self;
        Eval { b, module: &mut **module, helpers, f: &k.stage.body, inputs, axes }
    }

    fn eval(&mut self, b: &mut FunctionBuilder, axes: &[Linear]) -> Result<Value, CodegenError> {
        self.evaluator(b, axes).run()
    }

    fn reduce(&mut self, b: &mut FunctionBuilder, axes: &mut Axes, r: &Reduction) -> Result<Vec<Value>, CodegenError> {
        let d = self.k.stage.dtype;
        // Sums over f32 are formed in f64: long ones keep their digits whatever their order.
        let wide = if class(d) != I64 && matches!(r.combine, Combine::Sum | Combine::Product) && d.is_float() {
            DType::F64
        } else {
            d
        };
        let init = literal(b, r.init, wide);
        let sums: Vec<Variable> = axes
            .iter()
            .map(|_| {
                let sum = b.declare_var(class(wide));
                b.def_var(sum, init);
                sum
            })
            .collect();
        if !r.dims.contains(&0) {
            self.reduce_from(b, axes, r, 0, &sums, wide)?;
        }
        let narrow = class(wide) == F64 && class(d) != F64;
        let result = |sum: Variable| {
            let x = b.use_var(sum);
            if narrow { cast(b, x, DType::F64, DType::F32) } else { x }
        };
        Ok(sums.into_iter().map(result).collect())
    }

    fn reduce_from(
        &mut self,
        b: &mut FunctionBuilder,
        axes: &mut Axes,
        r: &Reduction,
        depth: usize,
        sums: &[Variable],
        wide: DType,
    ) -> Result<(), CodegenError> {
        if let Some(&n) = r.dims.get(depth) {
            return repeated(b, n, &mut |b, i| {
                axes.iter_mut().for_each(|a| a.push(Linear::value(i)));
                let done = self.reduce_from(b, axes, r, depth + 1, sums, wide);
                axes.iter_mut().for_each(|a| drop(a.pop()));
                done
            });
        }
        let d = self.k.stage.dtype;
        let op = match r.combine {
            Combine::Sum => Binary::Add,
            Combine::Product => Binary::Mul,
            Combine::Max => Binary::Max,
            Combine::Min => Binary::Min,
        };
        for (axes, &sum) in axes.iter().zip(sums) {
            let x = self.eval(b, axes)?;
            let x = if class(wide) == class(d) { x } else { cast(b, x, d, wide) };
            let so_far = b.use_var(sum);
            let next = self.evaluator(b, axes).combine(op, so_far, x, wide)?;
            b.def_var(sum, next);
        }
        Ok(())
    }
}

/// The indices that a unit's number stands for.
fn unit_axes(b: &mut FunctionBuilder, unit: Value, dims: &[usize]) -> Vec<Linear> {
    let mut axes = vec![Linear::default(); dims.len()];
    let mut rest = unit;
    for (d, &n) in dims.iter().enumerate().rev() {
        let outermost = dims[..d].iter().all(|&n| n == 1);
        if n == 1 {
            continue;
        }
        if outermost {
            axes[d] = Linear::value(rest);
            break;
        }
        let count = b.ins().iconst(I64, n as i64);
        axes[d] = Linear::value(b.ins().urem(rest, count));
        rest = b.ins().udiv(rest, count);
    }
    axes
}
