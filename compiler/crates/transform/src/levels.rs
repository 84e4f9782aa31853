//! The optimisation levels: named pipelines.
//!
//! `--opt-level` means what MNN's `--optimizeLevel` means:
//!
//! | level | does |
//! |---|---|
//! | 0 | no graph optimisation beyond what lowering needs: constants and shape arithmetic are folded, dead code goes |
//! | 1 | every rewrite that is right for any input and keeps the model open to later quantisation and editing: duplicates, identities, transposes, padding, batch normalisation into convolutions, recovery of activations and norms |
//! | 2 | everything: also what changes rounding by an ulp, such as division by a constant as a product with its reciprocal |
//!
//! `--opt-prefer` bounds how many nodes may share a constant that is copied into each of them when something is folded in:
//! 4 (`normal`), 1 (`size`), 100 (`speed`). For native code, level 0 makes no groups.

use std::fmt;
use std::str::FromStr;

/// How much is optimised.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum OptLevel {
    /// What lowering needs.
    O0,
    /// What is right for any input and keeps the model open to editing.
    O1,
    /// Everything.
    #[default]
    O2,
}

/// What a choice is made in favour of.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Prefer {
    /// Neither.
    #[default]
    Normal,
    /// The smallest file.
    Size,
    /// The fastest run.
    Speed,
}

/// What the graph is prepared for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A `.mnn` file.
    Mnn,
    /// Native code.
    Native,
}

impl FromStr for OptLevel {
    type Err = String;
    fn from_str(s: &str) -> Result<OptLevel, String> {
        match s {
            "0" => Ok(OptLevel::O0),
            "1" => Ok(OptLevel::O1),
            "2" => Ok(OptLevel::O2),
            _ => Err(format!("`{s}` is no optimisation level; levels are 0, 1, 2")),
        }
    }
}

impl FromStr for Prefer {
    type Err = String;
    fn from_str(s: &str) -> Result<Prefer, String> {
        match s {
            "normal" => Ok(Prefer::Normal),
            "size" => Ok(Prefer::Size),
            "speed" => Ok(Prefer::Speed),
            _ => Err(format!("`{s}` is no preference; there are normal, size, speed")),
        }
    }
}

impl fmt::Display for Prefer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Prefer::Normal => "normal",
            Prefer::Size => "size",
            Prefer::Speed => "speed",
        })
    }
}

impl Prefer {
    /// Nodes that may share a constant which is copied into each of them.
    pub fn max_sharers(self) -> u64 {
        match self {
            Prefer::Normal => 4,
            Prefer::Size => 1,
            Prefer::Speed => 100,
        }
    }
}

/// The text of the pipeline for a level: everything that [`clean`] does, and what the target needs.
pub fn pipeline(target: Target, level: OptLevel, prefer: Prefer) -> String {
    whole(target, level, prefer, "")
}

/// As [`pipeline`] for native code, with products of compressed weights in integers where that is possible, their activations quantised at
/// run time.
pub fn low_memory(level: OptLevel, prefer: Prefer) -> String {
    whole(Target::Native, level, prefer, ",dynamic-quant")
}

fn whole(target: Target, level: OptLevel, prefer: Prefer, dynamic: &str) -> String {
    // The file format has ops for batch normalisation and gather, and windows over one dimension; native code has groups for the parts of the
    // one, and reads slices in place.
    let mut text = match target {
        Target::Native => with_lowering(
            level,
            prefer,
            "lower-bn,lower-row,lower-blocks,lower-gather,lower-point,move-weights,fuse-attention,sink-view",
        ),
        Target::Mnn => format!("spell-quant,{}", with_lowering(level, prefer, "")),
    };
    if target == Target::Native && level > OptLevel::O0 {
        text += if level == OptLevel::O2 { ",lower-quant{inexact=1}" } else { ",lower-quant" };
    }
    text += dynamic;
    if target == Target::Native {
        // What no kernel reads packed is folded in the end; files store compressed weights as they are.
        text += ",expand-weights{native=1}";
    }
    text += if level == OptLevel::O0 { ",fold,dce" } else { ",(fold,simplify,cse,dce)*" };
    if target == Target::Native && level > OptLevel::O0 {
        text += ",repeat-dequantize,fuse,dce";
    }
    text
}

/// The text of the pipeline that prepares a graph for quantisation, whatever the target: the float rewrites of the level, so that
/// what is quantised is what will be computed. It leaves a graph that [`pipeline`] finds nothing to do in but its target's own passes.
pub fn clean(level: OptLevel, prefer: Prefer) -> String {
    with_lowering(level, prefer, "")
}

fn with_lowering(level: OptLevel, prefer: Prefer, lower: &str) -> String {
    if level == OptLevel::O0 {
        // Nothing could be made of windows over three dimensions, and, in native code, over one.
        let row = if lower.is_empty() { "" } else { "lower-row," };
        return format!("fold,fold-shapes,fold,{row}lower-volume,fold,dce");
    }
    let sharers = prefer.max_sharers();
    // A file that is to be small gets no constants larger than what they are computed from.
    let fold = if prefer == Prefer::Size { "fold{max-growth=4096}" } else { "fold" };
    let strength = if level == OptLevel::O2 { ",strength{inexact=1}" } else { ",strength" };
    let comma = if lower.is_empty() { "" } else { "," };
    format!(
        "({fold},fold-shapes,move-weights,simplify,cse,dce)*,(transpose,fold-pad,simplify)*,fuse-norm,fuse-pool,fuse-activation,\
         (fuse-conv{{max-sharers={sharers}}},{fold})*,fuse-activation,lower-volume{comma}{lower}{strength},({fold},simplify,cse,dce)*"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pipeline;

    #[test]
    fn every_level_is_a_pipeline() {
        for target in [Target::Mnn, Target::Native] {
            for level in [OptLevel::O0, OptLevel::O1, OptLevel::O2] {
                for prefer in [Prefer::Normal, Prefer::Size, Prefer::Speed] {
                    let text = pipeline(target, level, prefer);
                    assert_eq!(Pipeline::parse(&text).unwrap().to_string(), text);
                    let text = low_memory(level, prefer);
                    assert_eq!(Pipeline::parse(&text).unwrap().to_string(), text);
                    let text = clean(level, prefer);
                    assert_eq!(Pipeline::parse(&text).unwrap().to_string(), text);
                }
            }
        }
    }
}
