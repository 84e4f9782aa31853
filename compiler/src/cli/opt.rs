//! `mnnc opt`: passes on a graph's text form.

use std::path::{Path, PathBuf};

use mnnc::error::{self, Result};
use mnnc::{Compiler, Memory, Model};
use mnnc_ir::constant::ConstPool;
use mnnc_ir::print::PrintOptions;
use mnnc_ir::{Diagnostic, Graph};

use super::model::{ModelArgs, OptArgs};
use super::stdout::print;
use crate::report::{Cell, Table};

/// Run passes over a graph and print it in text form.
///
/// MODEL is a model, or a graph in text form (`.mir`) whose large constants are found by their hashes in `--constants`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: Option<ModelArgs>,
    /// List the passes with their options.
    #[arg(long, exclusive = true)]
    list: bool,
    /// The passes, such as `fold,(cse,dce)*` [default: those of the optimisation level].
    #[arg(long, value_name = "TEXT")]
    pipeline: Option<String>,
    /// The model that holds the constants of a graph in text form.
    #[arg(long, value_name = "MODEL")]
    constants: Option<PathBuf>,
    /// Prepare the graph for: native or mnn.
    #[arg(long, value_name = "WHAT", default_value = "native", value_parser = ["native", "mnn"])]
    purpose: String,
    /// Write the text here instead of to stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write small constants out, so that the text stands alone.
    #[arg(long)]
    literals: bool,
    /// Print what each pass did to stderr.
    #[arg(long)]
    report: bool,
    #[command(flatten)]
    opt: OptArgs,
}

pub fn run(args: Args) -> Result<()> {
    let Some(model) = args.model.as_ref().filter(|_| !args.list) else {
        print(&passes());
        return Ok(());
    };
    let options = model.options(Some(&args.opt));
    let pipeline = args.pipeline.clone().unwrap_or_else(|| {
        use mnnc_transform::{Target, levels};
        let (level, prefer) = (options.opt_level, options.prefer);
        match (args.purpose.as_str(), options.memory) {
            ("mnn", _) => levels::pipeline(Target::Mnn, level, prefer),
            (_, Memory::Normal) => levels::pipeline(Target::Native, level, prefer),
            (_, Memory::Low) => levels::low_memory(level, prefer),
        }
    });
    let compiler = Compiler::new(options);
    let graph = if model.model.extension().is_some_and(|e| e == "mir") {
        parse(model, args.constants.as_deref(), &compiler)?
    } else {
        model.load(&compiler)?.graph().clone()
    };
    let optimised = compiler.transform(graph, &pipeline)?;
    if args.report {
        eprint!("{}", optimised.report);
    }
    let text = optimised.graph.print(PrintOptions { literals: args.literals.then_some(64) });
    match &args.output {
        Some(path) => mnnc::output::write(path, text.as_bytes()),
        None => {
            print(&text);
            Ok(())
        }
    }
}

/// Every pass, its options and what they do.
fn passes() -> String {
    let mut table = Table::new(&[("pass", "pass"), ("default", "default"), ("doc", "what it does")]);
    for pass in mnnc_transform::table::PASSES {
        table.row([pass.name.into(), Cell::Empty, pass.doc.into()]);
        for option in pass.options {
            let name = format!("  {{{}}}", option.name);
            table.row([name.into(), Cell::Count(option.default), option.doc.into()]);
        }
    }
    table.text()
}

fn parse(model: &ModelArgs, constants: Option<&Path>, compiler: &Compiler) -> Result<Graph> {
    let path = &model.model;
    let text = std::fs::read_to_string(path).map_err(|e| error::file("read", path, &e))?;
    let donor: Option<Model> = constants.map(|path| compiler.load(path)).transpose()?;
    let none = ConstPool::default();
    let pool = donor.as_ref().map_or(&none, |model| model.graph().consts());
    mnnc_ir::parse::parse_graph(&text, &mnnc_ops::lookup, pool).map_err(|e| {
        // Editors jump to `file:line:column`.
        let place = format!("{}:{}:{}", path.display(), e.line, e.column);
        Diagnostic::bad_input(e.message).file(place).into()
    })
}
