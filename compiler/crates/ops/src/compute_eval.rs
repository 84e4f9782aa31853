//! A slow, plain interpreter of loop forms: one element at a time, straight from the definition of the scalar language.
//! It shares no code with the reference evaluation, so that tests can hold the two against each other.

mod scalar;

use half::{bf16, f16};
use mnnc_ir::compute::{Combine, Compute, Stage};
use mnnc_ir::scalar::{Expr, ScalarFn, ScalarNode, Source};
use mnnc_ir::{DType, OpError, Tensor};
use scalar::{Scalar, add, greater, lesser, multiply};

/// A tensor of scalars.
struct Block {
    dims: Vec<usize>,
    values: Vec<Scalar>,
}

/// Evaluates a loop form on values. Fails where an index leaves its tensor.
pub fn evaluate_compute(compute: &Compute, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, OpError> {
    let inputs: Vec<Option<Block>> = inputs.iter().map(|t| t.as_ref().map(block)).collect();
    let mut stages: Vec<Block> = Vec::new();
    for stage in &compute.stages {
        let values = run(stage, &inputs, &stages)?;
        stages.push(Block { dims: stage.dims.clone(), values });
    }
    compute.outputs.iter().map(|&s| Ok(tensor(&stages[s], compute.stages[s].dtype))).collect()
}

fn block(t: &Tensor) -> Block {
    let values = match t.dtype() {
        DType::U64 => t.view::<u64>().iter().map(|&x| Scalar::I(i128::from(x))).collect(),
        d if d.is_float() => t.to_f64s().into_iter().map(Scalar::F).collect(),
        _ => t.to_i64s().unwrap_or_default().into_iter().map(|x| Scalar::I(i128::from(x))).collect(),
    };
    Block { dims: t.dims().to_vec(), values }
}

fn tensor(b: &Block, d: DType) -> Tensor {
    macro_rules! ints {
        ($t:ty) => {
            Tensor::new(b.dims.clone(), b.values.iter().map(|v| v.int() as $t).collect::<Vec<_>>())
        };
    }
    macro_rules! floats {
        ($from:expr) => {
            Tensor::new(b.dims.clone(), b.values.iter().map(|v| $from(v.float())).collect::<Vec<_>>())
        };
    }
    match d {
        DType::F32 => floats!(|x| x as f32),
        DType::F64 => floats!(|x| x),
        DType::F16 => floats!(f16::from_f64),
        DType::BF16 => floats!(bf16::from_f64),
        DType::I8 => ints!(i8),
        DType::I16 => ints!(i16),
        DType::I32 => ints!(i32),
        DType::I64 => ints!(i64),
        DType::U8 => ints!(u8),
        DType::U16 => ints!(u16),
        DType::U32 => ints!(u32),
        DType::U64 => ints!(u64),
        DType::Bool => Tensor::bools(b.dims.clone(), b.values.iter().map(|v| v.int() != 0).collect()),
    }
}

/// All elements of a stage.
fn run(stage: &Stage, inputs: &[Option<Block>], stages: &[Block]) -> Result<Vec<Scalar>, OpError> {
    if stage.body.dtype(stage.body.result) != stage.dtype {
        return Err(OpError::invalid("the type of a stage is not that of its body"));
    }
    let mut out = Vec::new();
    each(&stage.dims, &mut |at| {
        let element = |axes: &[usize]| {
            let mut e = Element { f: &stage.body, axes, inputs, stages, known: vec![None; stage.body.nodes.len()] };
            e.value(stage.body.result)
        };
        let value = match &stage.reduce {
            None => element(at)?,
            Some(r) => {
                let mut acc = Scalar::F(r.init).cast(DType::F64, stage.dtype);
                let mut axes = at.to_vec();
                each(&r.dims, &mut |inner| {
                    axes.truncate(at.len());
                    axes.extend(inner);
                    let x = element(&axes)?;
                    acc = match r.combine {
                        Combine::Sum => add(acc, x),
                        Combine::Product => multiply(acc, x),
                        Combine::Max => greater(acc, x),
                        Combine::Min => lesser(acc, x),
                    }
                    .fit(stage.dtype);
                    Ok(())
                })?;
                acc
            }
        };
        out.push(value.store(stage.dtype));
        Ok(())
    })?;
    Ok(out)
}

/// Calls `f` with every index of a shape, in row-major order.
fn each(dims: &[usize], f: &mut dyn FnMut(&[usize]) -> Result<(), OpError>) -> Result<(), OpError> {
    if dims.contains(&0) {
        return Ok(());
    }
    let mut at = vec![0; dims.len()];
    loop {
        f(&at)?;
        let Some(k) = (0..dims.len()).rev().find(|&k| at[k] + 1 < dims[k]) else { return Ok(()) };
        at[k] += 1;
        at[k + 1..].fill(0);
    }
}

/// One element under evaluation. Nodes are computed when they are asked for: the arm of a select that is not taken, and
/// the index behind a guard that does not hold, are not.
struct Element<'a> {
    f: &'a ScalarFn,
    axes: &'a [usize],
    inputs: &'a [Option<Block>],
    stages: &'a [Block],
    known: Vec<Option<Scalar>>,
}

impl Element<'_> {
    fn value(&mut self, e: Expr) -> Result<Scalar, OpError> {
        if let Some(v) = self.known[e.0 as usize] {
            return Ok(v);
        }
        let d = self.f.dtype(e);
        let v = match self.f.node(e) {
            ScalarNode::Arg(i) => return Err(OpError::invalid(format!("argument {i} stands in a loop form"))),
            ScalarNode::Const(x) => Scalar::F(*x).cast(DType::F64, d),
            ScalarNode::Axis(i) => match self.axes.get(*i) {
                Some(&at) => Scalar::I(at as i128),
                None => return Err(OpError::invalid(format!("axis {i} of a nest of {}", self.axes.len()))),
            },
            ScalarNode::Load { source, index, guard } => {
                if let Some((inside, otherwise)) = guard
                    && self.value(*inside)?.int() == 0
                {
                    self.value(*otherwise)?
                } else {
                    self.load(*source, index)?
                }
            }
            ScalarNode::Unary(f, a) => scalar::unary(*f, self.value(*a)?, d),
            ScalarNode::Binary(f, a, b) => scalar::binary(*f, self.value(*a)?, self.value(*b)?, d),
            ScalarNode::Compare(r, a, b) => scalar::compare(*r, self.value(*a)?, self.value(*b)?),
            ScalarNode::Select(c, a, b) => {
                let taken = if self.value(*c)?.int() != 0 { a } else { b };
                self.value(*taken)?
            }
            ScalarNode::Cast(a) => self.value(*a)?.cast(self.f.dtype(*a), d),
        };
        self.known[e.0 as usize] = Some(v);
        Ok(v)
    }

    fn load(&mut self, source: Source, index: &[Expr]) -> Result<Scalar, OpError> {
        let at: Vec<i128> = index.iter().map(|&e| self.value(e).map(Scalar::int)).collect::<Result<_, _>>()?;
        let block = match source {
            Source::Input(i) => self.inputs.get(i).and_then(Option::as_ref),
            Source::Stage(i) => self.stages.get(i),
        };
        let block = block.ok_or_else(|| OpError::invalid(format!("{source:?} does not exist")))?;
        let outside =
            at.len() != block.dims.len() || at.iter().zip(&block.dims).any(|(&i, &d)| !(0..d as i128).contains(&i));
        if outside {
            return Err(OpError::invalid(format!("index {at:?} into {source:?} of shape {:?}", block.dims)));
        }
        let place = at.iter().zip(&block.dims).fold(0, |p, (&i, &d)| p * d + i as usize);
        Ok(block.values[place])
    }
}
