//! `MNNConvert`: a model to a `.mnn` file.

use std::path::Path;

use mnnc::error::{self, Result};
use mnnc::{CompileOptions, Compiler, Compressed, Compression, Emit, Format, Model, OptLevel, Prefer};
use mnnc_ir::Dim;
use mnnc_mnn::WriteOptions;
use mnnc_quant::weight::{Method, Options, ScaleType, mnn};
use serde_json::json;

use super::super::effect::Subject;
use super::super::stdout::print;
use super::options::Framework;
use super::{info, testdir};

pub use super::options::Args;
use crate::report;

/// The version of MNN that files are written for.
const MNN_VERSION: &str = "3.6.1";

pub fn run(args: Args) -> Result<()> {
    if args.version {
        print(&format!("{MNN_VERSION}\n"));
        return Ok(());
    }
    args.check()?;
    let framework =
        args.framework.ok_or_else(|| error::usage("-f is missing: say what the model is, such as -f ONNX"))?;
    if args.op == Some(true) {
        return info::ops(framework);
    }
    let source = Args::needed(&args.model_file, "--modelFile")?;
    if is_on(args.info) || args.json_file.is_some() {
        if framework != Framework::Mnn {
            return Err(error::usage("--info and --JsonFile are for .mnn files: say -f MNN"));
        }
        if is_on(args.info) {
            info::info(source)?;
        }
        return args.json_file.as_ref().map_or(Ok(()), |to| info::dump(source, to));
    }
    let destination = Args::needed(&args.mnn_model, "--MNNModel")?;
    convert(&args, framework, source, destination)
}

fn convert(args: &Args, framework: Framework, source: &Path, destination: &Path) -> Result<()> {
    let compiler = Compiler::new(options(args, framework)?);
    let (compiler, model) = load(args, compiler, source)?;
    for warning in &model.imported().warnings {
        eprintln!("{warning}");
    }
    let how = compression(args, &compiler, &model)?;
    args.measure.check(how.is_some())?;
    let pictures = args.measure.pictures(None, model.graph())?;
    let compressed = how.map(|how| compiler.compress_model(&model, &how, args.measure.wanted())).transpose()?;
    if is_on(args.dump_pass) {
        eprint!("{}", compiler.optimise(&model, mnnc_transform::Target::Mnn)?.report);
    }
    let written = compressed.as_ref().map_or(&model, |compressed| &compressed.model);
    let done = compiler.compile(written, Emit::Mnn, destination, true)?;
    let mut told: Vec<String> = compressed.iter().flat_map(notes).collect();
    if args.measure.wanted() {
        let subject = Subject { compiler: &compiler, model: &model, compressed: compressed.as_ref() };
        let page = args.measure.report.page.as_ref().map(|_| Emit::Mnn);
        let effect = subject.effect(&done, pictures.as_ref(), page)?;
        args.measure.report.write_json(&json!({ "files": done.files, "bytes": done.bytes, "effect": effect }))?;
        args.measure.report.write(&effect, |_| ())?;
        eprint!("{}\n{}", report::effect::layers(&effect).text(), report::effect::summary(&effect).text());
        told.extend(effect.notes);
    } else {
        told.extend(done.notes);
    }
    for note in told {
        eprintln!("note: {note}");
    }
    if let Some(folder) = &args.testdir {
        // What is tested is what was written.
        let reader = Compiler::new(CompileOptions { from: Some(Format::Mnn), ..compiler.options().clone() });
        let back = reader.load(destination)?;
        testdir::check(&reader, &back, folder, args.testconfig.as_deref(), args.thredhold)?;
    }
    eprintln!("Converted Success! {} has {} bytes", destination.display(), done.bytes);
    Ok(())
}

/// Whether an option that needs no value is on.
fn is_on(option: Option<bool>) -> bool {
    option.unwrap_or(false)
}

fn notes(compressed: &Compressed) -> impl Iterator<Item = String> {
    super::super::precision::notes(&compressed.report)
}

fn options(args: &Args, framework: Framework) -> Result<CompileOptions> {
    // Shapes of the test, where the model leaves them open.
    let shapes = args.testdir.as_deref().map(testdir::shapes).transpose()?.unwrap_or_default();
    Ok(CompileOptions {
        from: Some(framework.format()?),
        shapes,
        opt_level: match args.optimize_level {
            0 => OptLevel::O0,
            1 => OptLevel::O1,
            _ => OptLevel::O2,
        },
        prefer: match args.optimize_prefer {
            0 => Prefer::Normal,
            1 => Prefer::Size,
            _ => Prefer::Speed,
        },
        mnn: WriteOptions {
            biz_code: args.biz_code.clone(),
            auth_code: args.auth_code.clone(),
            products_as_convolutions: args.convert_matmul_to_conv == 1,
            flush_subnormals: args.align_denormalized_value == 1,
            external_weights: is_on(args.save_external_data),
            ..WriteOptions::default()
        },
        ..CompileOptions::default()
    })
}

/// Reads the model; with `--batch`, again with that size where inputs leave their first dimension open.
fn load(args: &Args, compiler: Compiler, source: &Path) -> Result<(Compiler, Model)> {
    let model = compiler.load(source)?;
    if args.batch == 0 {
        return Ok((compiler, model));
    }
    let graph = model.graph();
    let mut options = compiler.options().clone();
    for &v in graph.inputs() {
        let (dims, name) = (&graph.ty(v).dims, &graph.value(v).name);
        if !matches!(dims.first(), Some(dim) if dim.known().is_none()) {
            continue;
        }
        let rest: Option<Vec<u64>> = dims[1..].iter().map(|dim: &Dim| dim.known()).collect();
        let Some(rest) = rest else {
            return Err(error::usage(format!("--batch: input {name} leaves other dimensions open, too")));
        };
        options.shapes.push((name.clone(), [vec![args.batch], rest].concat()));
    }
    let compiler = Compiler::new(options);
    let model = compiler.load(source)?;
    Ok((compiler, model))
}

/// What is to become of the weights, if anything. A file of compression parameters that is not there is written.
fn compression(args: &Args, compiler: &Compiler, model: &Model) -> Result<Option<Compression>> {
    let bits = args.weight_quant_bits;
    let options = Options {
        block: usize::try_from(args.weight_quant_block).unwrap_or(0),
        symmetric: !args.weight_quant_asymmetric,
        scales: Some(if args.weight_quant_scale_bit == "16" { ScaleType::Fp16 } else { ScaleType::Fp32 }),
        method: if is_on(args.hqq) { Method::Hqq } else { Method::default() },
        ..Options::bits(bits.unwrap_or(if is_on(args.fp16) { 16 } else { 8 }))
    };
    if let Some(path) = args.compression_params_file.as_ref().filter(|path| path.exists()) {
        let text = std::fs::read_to_string(path).map_err(|e| error::file("read", path, &e))?;
        return Ok(Some(Compression {
            options,
            policy: Some(text),
            halve_constants: is_on(args.fp16),
            calibration: None,
        }));
    }
    let clean = model.with_graph(compiler.clean(model)?.graph);
    let policy = options.uniform(clean.graph());
    if let Some(path) = &args.compression_params_file {
        // As MNN makes it: every layer in 8 bits, unless others are asked for.
        let text = mnn::write(&policy, clean.graph())?;
        mnnc::output::write(path, text.as_bytes())?;
    }
    let asked = bits.is_some() || is_on(args.fp16);
    Ok(asked.then(|| Compression {
        policy: Some(policy.to_json()),
        halve_constants: is_on(args.fp16),
        options,
        calibration: None,
    }))
}
