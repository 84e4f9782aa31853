//! The finished program as the bytes of a file.

use crate::WriteOptions;
use crate::external::External;
use crate::int8;
use crate::net::{Main, Net, NetOp, Tid, Ty};
use mnnc_ir::{DType, Tensor};
use mnnc_schema::mnn::{
    self, BlobT, Convolution2DT, DataType, ExtraInfoT, MNN_DATA_FORMAT, NetSource, NetT, OpParameterT, OpT, OpType,
};
use std::collections::HashMap;

/// The engine version whose features the file may use.
pub(crate) const ENGINE_VERSION: &str = "3.6.1";
/// Stands where the id goes until the rest of the bytes is known.
const NO_UUID: &str = "00000000-0000-0000-0000-000000000000";
/// Room for one op's tables, beside its weights: a guess that spares the buffer a copy.
const OP_BYTES: usize = 512;

fn blob(tensor: &Tensor, external: Option<&mut External>) -> BlobT {
    let ty = Ty::of(tensor.dtype());
    let dims = tensor.dims().iter().map(|&d| i32::try_from(d).unwrap_or(i32::MAX)).collect();
    let mut blob = BlobT { dims: Some(dims), data_type: ty.data_type(), ..BlobT::default() };
    match ty {
        // Widened when the file is loaded.
        Ty::Float if tensor.dtype() == DType::F16 => {
            blob.data_type = DataType::DT_HALF;
            blob.uint8s = Some(tensor.bytes().to_vec());
        }
        Ty::Float => blob.float32s = Some(tensor.to_vec()),
        Ty::Int => blob.int32s = Some(tensor.to_vec()),
        Ty::I8 => blob.int8s = Some(tensor.to_vec()),
        Ty::U8 => blob.uint8s = Some(tensor.to_vec()),
    }
    // Half precision is read from the model only.
    if let Some(external) = external.filter(|_| blob.data_type != DataType::DT_HALF) {
        blob.external = match ty {
            Ty::Float => external.constant(&mut blob.float32s),
            Ty::Int => external.constant(&mut blob.int32s),
            Ty::I8 => external.constant(&mut blob.int8s),
            Ty::U8 => external.constant(&mut blob.uint8s),
        };
    }
    blob
}

fn pack_op(mut op: NetOp, index: &HashMap<Tid, i32>, name: &str, mut external: Option<&mut External>) -> OpT {
    let numbers = |tids: &[Tid]| tids.iter().filter_map(|tid| index.get(tid).copied()).collect::<Vec<_>>();
    if let Some(external) = &mut external {
        external.take(&mut op);
    }
    let main = match op.main {
        Main::Param(main) => main,
        Main::Const(tensor) => OpParameterT::Blob(Box::new(blob(&tensor, external))),
    };
    // These read the field; for the rest its default takes no room.
    let format = match op.ty {
        OpType::Shape | OpType::Size | OpType::Rank => MNN_DATA_FORMAT::NCHW,
        _ => MNN_DATA_FORMAT::NHWC,
    };
    OpT {
        input_indexes: (!op.inputs.is_empty()).then(|| numbers(&op.inputs)),
        main,
        name: Some(name.to_string()),
        output_indexes: Some(numbers(&op.outputs)),
        type_: op.ty,
        default_dimention_format: format,
        external_path: None,
    }
}

/// What the constants and weights of `net` take in the file, without the tables around them.
pub(crate) fn weight_bytes(net: &Net) -> u64 {
    let floats = |list: &Option<Vec<f32>>| list.as_ref().map_or(0, |list| 4 * list.len() as u64);
    let coded = |conv: &Convolution2DT| {
        conv.quan_parameter.as_ref().map_or(0, |quan| {
            let alphas = quan.alpha_fp16.as_ref().map_or(0, |list| 2 * list.len() as u64);
            quan.buffer.as_ref().map_or(0, |list| list.len() as u64) + floats(&quan.alpha) + alphas
        })
    };
    let sizes = net.ops.iter().map(|op| match &op.main {
        Main::Const(tensor) => tensor.bytes().len() as u64,
        Main::Param(OpParameterT::Convolution2D(conv)) => floats(&conv.weight) + floats(&conv.bias) + coded(conv),
        Main::Param(OpParameterT::Convolution3D(conv)) => floats(&conv.weight) + floats(&conv.bias),
        Main::Param(OpParameterT::LayerNorm(norm)) => floats(&norm.gamma) + floats(&norm.beta),
        Main::Param(OpParameterT::Scale(scale)) => floats(&scale.scale_data) + floats(&scale.bias_data),
        Main::Param(_) => 0,
    });
    sizes.sum()
}

/// Serialises `net`, and its weights apart if the options say so. `weight_bytes` is what its constants take.
pub(crate) fn pack(net: Net, options: &WriteOptions, weight_bytes: usize) -> (Vec<u8>, Option<Vec<u8>>) {
    // Tensors are numbered in order of their making; those that fusions left behind get no number.
    let mut index = HashMap::new();
    let mut names = Vec::new();
    for &tid in net.ops.iter().flat_map(|op| &op.outputs) {
        index.entry(tid).or_insert_with(|| {
            names.push(net.tensors[tid].name.clone());
            i32::try_from(names.len() - 1).unwrap_or(i32::MAX)
        });
    }
    let mut external = options.external_weights.then(External::default);
    let capacity = if options.external_weights { 0 } else { weight_bytes } + (net.ops.len() + 8) * OP_BYTES;
    let outputs = net.outputs.iter().map(|&tid| net.tensors[tid].name.clone()).collect();
    let described = int8::descriptions(&net, &index);
    let mut ops = Vec::with_capacity(net.ops.len());
    for op in net.ops {
        let name = op.outputs.first().map_or("", |&tid| net.tensors[tid].name.as_str());
        ops.push(pack_op(op, &index, name, external.as_mut()));
    }
    let net = NetT {
        biz_code: Some(options.biz_code.clone()),
        extra_info: Some(Box::new(ExtraInfoT {
            name: options.auth_code.clone(),
            version: Some(ENGINE_VERSION.into()),
            ..ExtraInfoT::default()
        })),
        extra_tensor_describe: described,
        oplists: Some(ops),
        output_name: Some(outputs),
        source_type: NetSource::ONNX,
        tensor_name: Some(names),
        mnn_uuid: Some(NO_UUID.into()),
        ..NetT::default()
    };
    let mut bytes = mnn::finish(net, capacity);
    let weights = external.map(|external| external.bytes);
    stamp_uuid(&mut bytes, weights.as_deref().unwrap_or_default());
    (bytes, weights)
}

/// Writes an id that is a function of all other bytes: equal models are equal files.
fn stamp_uuid(bytes: &mut [u8], weights: &[u8]) {
    let place = |bytes: &[u8]| {
        let uuid = mnn::root(bytes).ok()?.mnn_uuid()?;
        Some(uuid.as_ptr().addr() - bytes.as_ptr().addr())
    };
    let Some(start) = place(bytes) else { return };
    let mut hash = *blake3::Hasher::new().update(bytes).update(weights).finalize().as_bytes();
    // RFC 9562, version 8 (vendor's choice of content), variant 10.
    hash[6] = (hash[6] & 0x0f) | 0x80;
    hash[8] = (hash[8] & 0x3f) | 0x80;
    let hex: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let uuid = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    if let Some(slot) = bytes.get_mut(start..start + NO_UUID.len()) {
        slot.copy_from_slice(uuid.as_bytes());
    }
}
