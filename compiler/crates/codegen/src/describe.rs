//! The description of a model as data: `struct mnnc_model` of `mnnc.h`, with everything that it points to behind it.

use crate::emit::function;
use crate::model::{Model, Port};
use crate::{ABI_VERSION, CodegenError};
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AbiParam, InstBuilder};
use cranelift_module::{DataDescription, DataId, FuncId, Linkage, Module};
use mnnc_ir::DType;

/// Size of `struct mnnc_model`.
const MODEL_BYTES: usize = 80;
/// Size of `struct mnnc_tensor`.
const TENSOR_BYTES: usize = 56;

/// Emits `size_t NAME(void)`.
pub(crate) fn define_constant_function(module: &mut dyn Module, name: &str, x: usize) -> Result<FuncId, CodegenError> {
    let mut sig = module.make_signature();
    sig.returns.push(AbiParam::new(I64));
    function(module, name, Linkage::Export, sig, |_, b, _| {
        let x = b.ins().iconst(I64, x as i64);
        b.ins().return_(&[x]);
        Ok(())
    })
}

/// The numbers of `enum mnnc_dtype`.
pub(crate) fn dtype_code(d: DType) -> u32 {
    match d {
        DType::F32 => 1,
        DType::F64 => 2,
        DType::F16 => 3,
        DType::BF16 => 4,
        DType::I8 => 5,
        DType::I16 => 6,
        DType::I32 => 7,
        DType::I64 => 8,
        DType::U8 => 9,
        DType::U16 => 10,
        DType::U32 => 11,
        DType::U64 => 12,
        DType::Bool => 13,
    }
}

/// Bytes under construction, and which of them are addresses of others.
#[derive(Default)]
struct Blob {
    bytes: Vec<u8>,
    pointers: Vec<(usize, usize)>,
}

impl Blob {
    fn put(&mut self, at: usize, x: &[u8]) {
        self.bytes[at..at + x.len()].copy_from_slice(x);
    }
    /// Appends, aligned to 8 bytes, and returns where.
    fn append(&mut self, x: &[u8]) -> usize {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let at = self.bytes.len();
        self.bytes.extend_from_slice(x);
        at
    }
    fn text(&mut self, slot: usize, s: &str) {
        // A name with a zero byte ends there for C.
        let at = self.append(s.as_bytes());
        self.bytes.push(0);
        self.pointers.push((slot, at));
    }
    fn array<const N: usize>(&mut self, slot: usize, items: impl IntoIterator<Item = [u8; N]>) {
        let bytes: Vec<u8> = items.into_iter().flatten().collect();
        if !bytes.is_empty() {
            let at = self.append(&bytes);
            self.pointers.push((slot, at));
        }
    }
    fn tensor(&mut self, at: usize, p: &Port) {
        self.text(at, &p.name);
        self.array(at + 8, p.dims.iter().map(|&d| (d as u64).to_le_bytes()));
        let (mut scales, mut axis) = (0, -1);
        if let Some(q) = &p.quant {
            self.array(at + 16, q.scales.iter().map(|s| s.to_le_bytes()));
            self.array(at + 24, q.zero_points.iter().map(|z| z.to_le_bytes()));
            scales = q.scales.len() as u32;
            axis = q.axis.map_or(-1, |a| a as i32);
        }
        self.put(at + 32, &(p.bytes as u64).to_le_bytes());
        self.put(at + 40, &dtype_code(p.dtype).to_le_bytes());
        self.put(at + 44, &(p.dims.len() as u32).to_le_bytes());
        self.put(at + 48, &scales.to_le_bytes());
        self.put(at + 52, &axis.to_le_bytes());
    }
}

/// The bytes of the description, and which of them are addresses of others.
fn description(model: &Model) -> (Vec<u8>, Vec<(usize, usize)>) {
    let i = &model.interface;
    let mut blob = Blob::default();
    blob.append(&[0; MODEL_BYTES]);
    for (at, x) in [(0, ABI_VERSION), (4, i.inputs.len() as u32), (8, i.outputs.len() as u32)] {
        blob.put(at, &x.to_le_bytes());
    }
    blob.put(40, &(model.workspace() as u64).to_le_bytes());
    blob.put(48, &(model.weights() as u64).to_le_bytes());
    for (slot, ports) in [(24, &i.inputs), (32, &i.outputs)] {
        let table = blob.append(&vec![0; TENSOR_BYTES * ports.len()]);
        blob.pointers.push((slot, table));
        for (k, p) in ports.iter().enumerate() {
            blob.tensor(table + k * TENSOR_BYTES, p);
        }
    }
    blob.text(16, &i.name);
    blob.text(56, &i.source_hash);
    blob.text(64, &target_text(model));
    blob.text(72, concat!("mnnc ", env!("CARGO_PKG_VERSION")));
    (blob.bytes, blob.pointers)
}

/// System and processors: `x86_64-unknown-linux-gnu x86-64-v3,x86-64-v4`.
pub(crate) fn target_text(model: &Model) -> String {
    let cpus: Vec<String> = model.variants.iter().map(|v| v.cpu.to_string()).collect();
    format!("{} {}", model.target.triple_name(), cpus.join(","))
}

/// Emits `const mnnc_model NAME_model`.
pub(crate) fn define_description(module: &mut dyn Module, model: &Model) -> Result<DataId, CodegenError> {
    let (bytes, pointers) = description(model);
    let id = module.declare_data(&format!("{}_model", model.interface.name), Linkage::Export, false, false)?;
    let mut data = DataDescription::new();
    data.set_align(8);
    data.define(bytes.into_boxed_slice());
    let own = module.declare_data_in_data(id, &mut data);
    for (at, to) in pointers {
        data.write_data_addr(at as u32, own, to as i64);
    }
    module.define_data(id, &data)?;
    Ok(id)
}
