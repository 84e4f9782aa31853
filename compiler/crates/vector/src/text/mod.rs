//! The text form. What is printed parses back equal.
//!
//! ```text
//! kernel "axpy" avx512 {
//! block0:
//!   %0:gpr, %1:gpr, %2:gpr = entry
//!   %3:gpr = load.i64 [%0 + 8]
//!   %4:vec16 = vload [%3]
//!   %5:vec16 = fmul %4, splat 0x40000000
//!   vstore %5, [%3 + %1*4 + 64]
//!   return
//! }
//! ```

mod lexer;
mod mnemonic;
mod parse;
mod print;

pub use parse::ParseError;
