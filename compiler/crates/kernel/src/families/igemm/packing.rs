//! How weights lie in a panel, and how they become numbers: integers and half floats are expanded in registers at every use.

use super::order::nests;
use super::spec::{Spec, Start};
use mnnc_vector::Target;
use std::fmt;
use std::str::FromStr;

/// How one weight lies in memory.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Stored {
    /// As [`Spec::number`] says.
    #[default]
    Whole,
    /// Half floats.
    F16,
    /// Signed bytes.
    I8,
    /// Signed half bytes: a word of 32 bits a channel holds eight steps of the reduction.
    I4,
}

impl Stored {
    fn name(self) -> &'static str {
        match self {
            Stored::Whole => "",
            Stored::F16 => "f16",
            Stored::I8 => "i8",
            Stored::I4 => "i4",
        }
    }
}

/// What makes numbers of integers.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Scaling {
    /// Nothing: they are numbers.
    #[default]
    None,
    /// A factor for each output channel, which multiplies the sum. Where there are zero points, every weight is `q - zero`.
    Channel {
        /// Whether there are zero points.
        zero: bool,
    },
    /// A factor for each output channel and so many input channels (and each tap), which multiplies every weight: `(q - zero) * factor`.
    /// They stand before the weights of their block.
    Blocks {
        /// Input channels.
        size: usize,
        /// Whether there are zero points.
        zero: bool,
        /// Whether factors are half floats.
        half: bool,
    },
}

/// How the weights of a product lie in memory.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Packing {
    /// A weight.
    pub stored: Stored,
    /// What it is multiplied with.
    pub scaling: Scaling,
}

impl Packing {
    /// Plain numbers.
    pub const WHOLE: Packing = Packing { stored: Stored::Whole, scaling: Scaling::None };

    /// Steps of the reduction written out without a loop.
    pub fn unroll(self) -> usize {
        if self.stored == Stored::I4 { 8 } else { super::order::UNROLL }
    }

    /// Bytes of `steps` steps in a row of a panel `width` lanes wide.
    pub fn run_bytes(self, steps: usize, width: usize) -> usize {
        match self.stored {
            Stored::Whole => 4 * steps * width,
            Stored::F16 => 2 * steps * width,
            Stored::I8 => steps * width,
            Stored::I4 => 4 * steps.div_ceil(8) * width,
        }
    }

    /// Bytes of the factors and zero points of a block, in a panel `width` lanes wide.
    pub fn scale_bytes(self, width: usize) -> usize {
        match self.scaling {
            Scaling::Blocks { zero, half, .. } => width * (if half { 2 } else { 4 } + usize::from(zero)),
            _ => 0,
        }
    }

    /// Vectors of each block in the bias operand: the bias, the factor, the zero point.
    pub fn bias_vectors(self) -> usize {
        match self.scaling {
            Scaling::Channel { zero } => 2 + usize::from(zero),
            _ => 1,
        }
    }

    /// Channels that share factors.
    pub fn block(self) -> Option<usize> {
        match self.scaling {
            Scaling::Blocks { size, .. } => Some(size),
            _ => None,
        }
    }

    /// Bytes of a weight on average, factors included.
    pub fn bytes(self) -> f64 {
        let weight = match self.stored {
            Stored::Whole => 4.0,
            Stored::F16 => 2.0,
            Stored::I8 => 1.0,
            Stored::I4 => 0.5,
        };
        weight + self.block().map_or(0.0, |size| self.scale_bytes(1) as f64 / size as f64)
    }

    /// Instructions beside its load that expand a vector of weights.
    pub fn instructions(self, target: &Target) -> f64 {
        let expand = match self.stored {
            Stored::Whole => return 0.0,
            Stored::F16 | Stored::I8 => 2.0,
            Stored::I4 if permutes_16(target) => 2.0,
            Stored::I4 => 3.0,
        };
        let scale = !matches!(self.scaling, Scaling::None | Scaling::Channel { zero: false });
        expand + f64::from(u8::from(scale))
    }

    /// Registers that hold factors and zero points of each block of channels.
    pub fn registers(self) -> usize {
        match self.scaling {
            Scaling::Blocks { zero, .. } => 1 + usize::from(zero),
            _ => 0,
        }
    }
}

/// Whether one instruction looks up a half byte in each lane.
pub(super) fn permutes_16(target: &Target) -> bool {
    target.is_x64() && target.lanes() == 16
}

/// `i4b32zh`: how a weight lies, the size of a block, whether there are zero points, whether factors are half floats; empty for numbers.
impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.stored.name())?;
        let flag = |on: bool, name: &'static str| if on { name } else { "" };
        match self.scaling {
            Scaling::None => Ok(()),
            Scaling::Channel { zero } => write!(f, "c{}", flag(zero, "z")),
            Scaling::Blocks { size, zero, half } => write!(f, "b{size}{}{}", flag(zero, "z"), flag(half, "h")),
        }
    }
}

impl FromStr for Packing {
    type Err = ();
    fn from_str(s: &str) -> Result<Packing, ()> {
        let all = [Stored::F16, Stored::I8, Stored::I4];
        let Some((stored, rest)) = all.into_iter().find_map(|k| Some((k, s.strip_prefix(k.name())?))) else {
            return if s.is_empty() { Ok(Packing::WHOLE) } else { Err(()) };
        };
        let scaling = match (rest, rest.strip_prefix('b')) {
            ("", _) => Scaling::None,
            ("c", _) => Scaling::Channel { zero: false },
            ("cz", _) => Scaling::Channel { zero: true },
            (_, Some(block)) => {
                let (block, half) = block.strip_suffix('h').map_or((block, false), |b| (b, true));
                let (block, zero) = block.strip_suffix('z').map_or((block, false), |b| (b, true));
                let size = block.parse().ok().filter(|&n| n > 0).ok_or(())?;
                Scaling::Blocks { size, zero, half }
            }
            _ => return Err(()),
        };
        Ok(Packing { stored, scaling })
    }
}

impl Spec {
    /// Bytes of one packed panel.
    pub fn panel_bytes(&self, lanes: usize) -> usize {
        let width = self.blocks * lanes;
        if self.packing.stored == Stored::Whole {
            return self.depth() * width * 4;
        }
        let bytes = |nest: &super::order::Nest| {
            let times = |loops: &[super::order::Loop]| loops.iter().map(|l| l.count).product::<usize>();
            let scales = nest.scales_at.map_or(0, |at| times(&nest.loops[..at]) * self.packing.scale_bytes(width));
            times(&nest.loops) * self.packing.run_bytes(nest.run.len(), width) + scales
        };
        nests(self).iter().map(bytes).sum()
    }

    /// Bytes of the bias of one panel, factors and zero points of its channels included.
    pub fn bias_bytes(&self, lanes: usize) -> usize {
        let vectors = match self.start {
            Start::Taps => self.window.kernel.map(|k| k + 1).iter().product(),
            Start::Zero | Start::Bias => self.packing.bias_vectors(),
        };
        self.blocks * lanes * 4 * vectors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_parses_back() {
        let scalings = [
            Scaling::None,
            Scaling::Channel { zero: false },
            Scaling::Channel { zero: true },
            Scaling::Blocks { size: 32, zero: false, half: true },
            Scaling::Blocks { size: 128, zero: true, half: true },
            Scaling::Blocks { size: 8, zero: true, half: false },
        ];
        for stored in [Stored::F16, Stored::I8, Stored::I4] {
            for scaling in scalings {
                let p = Packing { stored, scaling };
                assert_eq!(p.to_string().parse(), Ok(p));
            }
        }
        assert_eq!("".parse(), Ok(Packing::WHOLE));
        for wrong in ["i9", "i8b", "i8b0", "i4x", "f16bz"] {
            assert_eq!(wrong.parse::<Packing>(), Err(()), "{wrong}");
        }
    }
}
