//! Machines that programs run on: this one, and others under emulation.

use std::path::Path;
use std::process::Command;

use crate::tools;

/// A machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// This one.
    Host,
    /// This one's architecture with another processor, by qemu's name.
    X64(&'static str),
    /// 64-bit ARM with a processor by qemu's name.
    Aarch64(&'static str),
}

impl Machine {
    /// The C compiler for it.
    pub fn compiler(self) -> &'static str {
        match self {
            Machine::Host | Machine::X64(_) => "cc",
            Machine::Aarch64(_) => "aarch64-linux-gnu-gcc",
        }
    }

    /// Whether it has another architecture than this one.
    pub fn is_foreign(self) -> bool {
        matches!(self, Machine::Aarch64(_))
    }

    /// A program for it, ready to be started.
    pub fn start(self, program: &Path) -> Command {
        let mut c = match self {
            Machine::Host => return Command::new(program),
            Machine::X64(cpu) => {
                let mut c = Command::new("qemu-x86_64");
                c.args(["-cpu", cpu]);
                c
            }
            Machine::Aarch64(cpu) => {
                let mut c = Command::new("qemu-aarch64");
                c.args(["-cpu", cpu, "-L", "/usr/aarch64-linux-gnu"]);
                c
            }
        };
        c.arg(program);
        c
    }

    /// Whether programs for it can be made and run here; said aloud if not.
    pub fn is_there(self) -> bool {
        let emulator = match self {
            Machine::Host => None,
            Machine::X64(_) if cfg!(not(target_arch = "x86_64")) => return false,
            Machine::X64(_) => Some("qemu-x86_64"),
            Machine::Aarch64(_) => Some("qemu-aarch64"),
        };
        tools::there(self.compiler()) && emulator.is_none_or(tools::there)
    }
}
