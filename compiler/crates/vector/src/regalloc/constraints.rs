//! What an instruction asks of the registers of its operands. Each target states it for each op.

use smallvec::SmallVec;

/// Register classes, as regalloc2 knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Gpr,
    Vec,
    /// Opmask registers of AVX-512. Elsewhere masks are vectors.
    Mask,
}

impl Class {
    pub fn ra(self) -> regalloc2::RegClass {
        match self {
            Class::Gpr => regalloc2::RegClass::Int,
            Class::Vec => regalloc2::RegClass::Float,
            Class::Mask => regalloc2::RegClass::Vector,
        }
    }
}

/// What an instruction asks beyond "any register of the class for each operand".
///
/// By default the result may share a register with an argument that dies, so a sequence must not write the result
/// before it has read all arguments. `tied` and `early` forbid that sharing. Temporaries never share with anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Constraints {
    /// Result 0 is in the register of this argument; it shares with no other argument.
    pub tied: Option<usize>,
    /// Results share no register with arguments.
    pub early: bool,
    /// Registers that the sequence may overwrite.
    pub temps: SmallVec<[Class; 2]>,
    /// Results in these registers (the function's parameters).
    pub fixed_results: &'static [u8],
}

impl Constraints {
    pub fn tied(arg: usize) -> Constraints {
        Constraints { tied: Some(arg), ..Constraints::default() }
    }

    pub fn early() -> Constraints {
        Constraints { early: true, ..Constraints::default() }
    }

    pub fn with_temp(mut self, class: Class) -> Constraints {
        self.temps.push(class);
        self
    }
}
