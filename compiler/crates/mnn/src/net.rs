//! The program being written: tensors and ops of the format, before layouts are chosen and bytes made.
//!
//! Its ops are in order of execution. A tensor has one producer. Shapes are logical and row-major; which tensors MNN
//! keeps packed (NC4HW4) is decided afterwards, in [`crate::layout`].

use mnnc_ir::entity::PrimaryMap;
use mnnc_ir::{DType, Tensor};
use mnnc_schema::mnn::{DataType, OpParameterT, OpType};
use std::collections::HashMap;

mnnc_ir::entity_id! {
    /// A tensor of the file's tensor table.
    Tid, "t"
}

/// Element types at run time in MNN: it knows no 64-bit integers, and a bool is an int32 that is 0 or 1.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Ty {
    Float,
    Int,
    I8,
    U8,
}

impl Ty {
    /// What stands for a type of the graph.
    pub(crate) fn of(dtype: DType) -> Ty {
        match dtype {
            DType::F32 | DType::F64 | DType::F16 | DType::BF16 => Ty::Float,
            DType::I8 => Ty::I8,
            DType::U8 => Ty::U8,
            DType::I16 | DType::I32 | DType::I64 | DType::U16 | DType::U32 | DType::U64 | DType::Bool => Ty::Int,
        }
    }
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Ty::Float => DataType::DT_FLOAT,
            Ty::Int => DataType::DT_INT32,
            Ty::I8 => DataType::DT_INT8,
            Ty::U8 => DataType::DT_UINT8,
        }
    }
}

/// A shape; `None` is known only at run time.
pub(crate) type Shape = Vec<Option<usize>>;

/// A tensor.
#[derive(Clone, Debug)]
pub(crate) struct NetTensor {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) ty: Ty,
    /// How it is rounded, if it is.
    pub(crate) quant: Option<Quant>,
}

/// `q = saturate(round(x / scale) + zero)` in `i8`.
#[derive(Copy, Clone, PartialEq, Debug)]
pub(crate) struct Quant {
    pub(crate) scale: f32,
    pub(crate) zero: i32,
    /// The least integer.
    pub(crate) min: i8,
}

/// Which memory layouts an op computes right on.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Layouts {
    /// Row-major operands only.
    Plain,
    /// First operand and result packed.
    Packed,
    /// First operand in either, the result in the same.
    Follow,
    /// All operands in either, but in one; constants may stay row-major.
    FollowAll,
}

/// An op.
#[derive(Clone, Debug)]
pub(crate) struct NetOp {
    pub(crate) ty: OpType,
    pub(crate) main: Main,
    pub(crate) inputs: Vec<Tid>,
    pub(crate) outputs: Vec<Tid>,
    pub(crate) layouts: Layouts,
}

/// An op's parameter.
#[derive(Clone, Debug)]
pub(crate) enum Main {
    /// As the format has it.
    Param(OpParameterT),
    /// A constant's elements, read when the file is packed: until then they stay where they are mapped.
    Const(Tensor),
}

/// Tensors and ops, in the making.
#[derive(Clone, Debug, Default)]
pub(crate) struct Net {
    pub(crate) tensors: PrimaryMap<Tid, NetTensor>,
    pub(crate) ops: Vec<NetOp>,
    /// Tensors that the caller of the model feeds, in order.
    pub(crate) inputs: Vec<Tid>,
    /// Tensors that it gets, in order.
    pub(crate) outputs: Vec<Tid>,
    /// What the user should know.
    pub(crate) notes: Vec<String>,
    /// Constants that are there already, by type, shape and bytes.
    consts: HashMap<(Ty, Vec<usize>, [u8; 32]), Tid>,
}

impl Net {
    pub(crate) fn tensor(&mut self, name: String, shape: Shape, ty: Ty) -> Tid {
        self.tensors.push(NetTensor { name, shape, ty, quant: None })
    }

    pub(crate) fn push(
        &mut self,
        ty: OpType,
        main: OpParameterT,
        inputs: Vec<Tid>,
        outputs: Vec<Tid>,
        layouts: Layouts,
    ) {
        self.ops.push(NetOp { ty, main: Main::Param(main), inputs, outputs, layouts });
    }

    /// The tensor of a constant; equal ones share it. Its element type is one that MNN has: f32, i32, i8 or u8.
    pub(crate) fn constant(&mut self, name: String, tensor: Tensor) -> Tid {
        let ty = Ty::of(tensor.dtype());
        let key = (ty, tensor.dims().to_vec(), *blake3::hash(tensor.bytes()).as_bytes());
        if let Some(&there) = self.consts.get(&key) {
            return there;
        }
        let tid = self.new_constant(name, tensor);
        self.consts.insert(key, tid);
        tid
    }

    /// The tensor of a constant that stands here, shared with none.
    pub(crate) fn new_constant(&mut self, name: String, tensor: Tensor) -> Tid {
        let shape = tensor.dims().iter().map(|&d| Some(d)).collect();
        let tid = self.tensor(name, shape, Ty::of(tensor.dtype()));
        self.ops.push(NetOp {
            ty: OpType::Const,
            main: Main::Const(tensor),
            inputs: Vec::new(),
            outputs: vec![tid],
            layouts: Layouts::Plain,
        });
        tid
    }

    /// For each tensor, the number of operands and graph outputs that read it.
    pub(crate) fn use_counts(&self) -> HashMap<Tid, usize> {
        let mut counts = HashMap::new();
        let reads = self.ops.iter().flat_map(|op| &op.inputs).chain(&self.outputs);
        for &tid in reads {
            *counts.entry(tid).or_insert(0) += 1;
        }
        counts
    }

    /// For each tensor, the position of the op that makes it.
    pub(crate) fn producers(&self) -> HashMap<Tid, usize> {
        let outputs = self.ops.iter().enumerate();
        outputs.flat_map(|(at, op)| op.outputs.iter().map(move |&tid| (tid, at))).collect()
    }
}
