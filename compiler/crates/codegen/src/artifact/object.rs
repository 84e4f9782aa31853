//! ELF objects. Position independent, without unwind tables (their absolute relocations would not link into shared
//! libraries), weights streamed from where they lie.

use crate::CodegenError;
use crate::emit::emit;
use crate::isa::isa;
use crate::model::Model;
use cranelift_module::{DataDescription, DataId, Linkage, Module, default_libcall_names};
use cranelift_object::{ObjectBuilder, ObjectModule};
use mnnc_kernel::weights::ALIGN;
use object::write::{Object, StreamingBuffer, SymbolSection};
use std::io::Write;

/// x86-64 code reaches its data within 2 GiB.
const MAX_WEIGHTS: usize = (1 << 31) - (64 << 20);

/// Writes the model as a relocatable object.
///
/// # Errors
/// If writing fails, or the weights are too large for the code model.
pub(super) fn write_object(model: &Model, to: &mut dyn Write) -> Result<(), CodegenError> {
    if model.weights() > MAX_WEIGHTS {
        return Err(CodegenError::Usage(format!(
            "{} MB of weights do not fit an object: code reaches its data within 2 GB; compile for fewer --cpu levels",
            model.weights() >> 20
        )));
    }
    // Code of every level must run on the weakest until the driver has chosen, so that is what Cranelift compiles for.
    let level = model.variants.first().map(|v| v.cpu.level);
    let level = level.ok_or_else(|| CodegenError::Usage("no processor to compile for".into()))?;
    let isa = isa(&model.target, level, true)?;
    let mut builder = ObjectBuilder::new(isa, model.interface.name.clone(), default_libcall_names())?;
    builder.per_function_section(false);
    let mut module = ObjectModule::new(builder);
    let mut data: Vec<(DataId, usize)> = Vec::new();
    emit(&mut module, model, &mut |m: &mut dyn Module, i| {
        let name = format!("{}.weights{i}", model.interface.name);
        let id = m.declare_data(&name, Linkage::Local, false, false)?;
        // Empty for now: its section gets the weights themselves, uncopied, below.
        let mut empty = DataDescription::new();
        empty.define(Box::new([]));
        empty.set_align(ALIGN as u64);
        empty.set_custom_section(&format!(".rodata.{name}"));
        m.define_data(id, &empty)?;
        data.push((id, i));
        Ok(id)
    })?;
    let product = module.finish();
    let symbols: Vec<_> = data.iter().map(|&(id, i)| (product.data_symbol(id), i)).collect();
    let mut out: Object<'_> = product.object;
    for (symbol, i) in symbols {
        let weights = &model.variants[i].weights;
        let symbol = out.symbol_mut(symbol);
        symbol.size = weights.len() as u64;
        let SymbolSection::Section(section) = symbol.section else {
            return Err(CodegenError::Internal("the weights have no section".into()));
        };
        out.section_mut(section).set_data(&weights[..], ALIGN as u64);
    }
    let mut stream = StreamingBuffer::new(to);
    out.emit(&mut stream).map_err(|e| CodegenError::Internal(format!("writing the object: {e}")))?;
    stream.result().map_err(|e| CodegenError::Io("cannot write the object".into(), e))?;
    stream.into_inner().flush().map_err(|e| CodegenError::Io("cannot write the object".into(), e))
}
