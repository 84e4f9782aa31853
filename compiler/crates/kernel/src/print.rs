//! The text of a schedule, for people and `--dump-phases`.

use crate::plan::Plan;
use crate::schedule::{Access, BufferKind, KernelCode, Schedule};
use std::fmt::Write;

impl Schedule {
    /// One line a buffer, kernel and step. With a plan, buffers show their place in the workspace.
    pub fn show(&self, plan: Option<&Plan>) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_text(plan, &mut out);
        out
    }

    fn write_text(&self, plan: Option<&Plan>, out: &mut String) -> std::fmt::Result {
        if let Some(p) = plan {
            writeln!(out, "workspace {} bytes, lower bound {}", p.workspace, p.lower_bound)?;
        }
        for (id, b) in self.buffers.iter() {
            let place = match (&b.kind, plan) {
                (BufferKind::Input(i), _) => format!("input {i}"),
                (BufferKind::Output(i), _) => format!("output {i}"),
                (BufferKind::Temp, Some(p)) => format!("workspace at {}", p.offsets[id]),
                (BufferKind::Temp, None) => "workspace".to_owned(),
                (BufferKind::Within(parent, at), _) => format!("within {parent} at {at}"),
                (BufferKind::Weights(at), _) => format!("weights at {at}"),
            };
            writeln!(out, "buffer {id} = {place}, {} bytes  # {}", b.bytes, b.name)?;
        }
        for (id, k) in self.kernels.iter() {
            writeln!(out, "kernel {id} = {}", k.name)?;
            if let KernelCode::Program(p) = &k.code {
                write!(out, "{}", p.show())?;
            }
        }
        for s in &self.steps {
            let operands: Vec<String> = s
                .operands
                .iter()
                .map(|o| {
                    let access = match o.access {
                        Access::Read => "read",
                        Access::Write => "write",
                        Access::Update => "update",
                    };
                    format!("{access} {}[{}..{}]", o.buffer, o.offset, o.offset + o.bytes)
                })
                .collect();
            writeln!(out, "step {}({}) units {}  # {}", s.kernel, operands.join(", "), s.units, s.name)?;
        }
        Ok(())
    }
}
