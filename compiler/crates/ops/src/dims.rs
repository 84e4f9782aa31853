//! Shapes given as operands, and products of sizes.

use mnnc_ir::types::Dims;
use mnnc_ir::{Dim, OpCtx, OpError, SymTable};

/// Product of known sizes, or an error that names them.
pub fn product(dims: &[usize]) -> Result<usize, OpError> {
    dims.iter()
        .try_fold(1usize, |a, &d| a.checked_mul(d))
        .ok_or_else(|| OpError::invalid(format!("shape {dims:?} has too many elements")))
}

/// Dimensions that a tensor may have: no real one has more, a hostile one would cost memory.
pub const MAX_RANK: usize = 64;

/// Checks a rank that an operand gives.
pub fn check_rank(rank: usize) -> Result<(), OpError> {
    if rank <= MAX_RANK {
        return Ok(());
    }
    Err(OpError::unsupported(format!("the result would have {rank} dimensions, at most {MAX_RANK} are supported")))
}

/// Non-negative sizes from an integer operand.
pub fn sizes(values: &[i64], name: &str) -> Result<Vec<usize>, OpError> {
    values
        .iter()
        .map(|&v| usize::try_from(v).map_err(|_| OpError::invalid(format!("{name} has the negative size {v}"))))
        .collect()
}

/// A shape of unknown sizes whose rank is the length of the integer list operand `i`.
pub fn unknown_dims(ctx: &OpCtx, i: usize, syms: &mut SymTable) -> Result<Dims, OpError> {
    let ty = ctx.input(i)?;
    let name = ctx.op.inputs.get(i).map_or("?", |o| o.name);
    match ty.dims[..] {
        [Dim::Const(rank)] if rank <= MAX_RANK as u64 => Ok((0..rank).map(|_| syms.fresh()).collect()),
        [_] => Err(OpError::unsupported(format!("the rank of the result is unknown: {name} must have a known length"))),
        _ => Err(OpError::invalid(format!("{name} must be a list, it is {}", ty.show(syms)))),
    }
}

/// The integer list operand `i`, if it is constant; checks that it is a list (or a scalar, which counts as a list of one).
pub fn const_list(ctx: &OpCtx, i: usize) -> Result<Option<Vec<i64>>, OpError> {
    let ty = ctx.input(i)?;
    if ty.rank() > 1 {
        let name = ctx.op.inputs.get(i).map_or("?", |o| o.name);
        return Err(OpError::invalid(format!("{name} must be a list, it has rank {}", ty.rank())));
    }
    if ctx.const_input(i).is_some() { ctx.const_ints(i).map(Some) } else { Ok(None) }
}

/// The integer scalar operand `i` (or a list of one), if it is constant.
pub fn const_scalar(ctx: &OpCtx, i: usize) -> Result<Option<i64>, OpError> {
    match const_list(ctx, i)? {
        None => Ok(None),
        Some(v) => match v[..] {
            [x] => Ok(Some(x)),
            _ => {
                let name = ctx.op.inputs.get(i).map_or("?", |o| o.name);
                Err(OpError::invalid(format!("{name} must be one number, it has {}", v.len())))
            }
        },
    }
}

/// The size that fills up `others` to as many elements as `whole` has.
pub fn quotient(whole: &[Dim], others: &[Dim], syms: &mut SymTable) -> Result<Dim, OpError> {
    let mut rest: Vec<Dim> = others.to_vec();
    let mut left: Vec<Dim> = Vec::new();
    for d in whole {
        match rest.iter().position(|o| o == d && *d != Dim::Const(0)) {
            Some(i) => {
                rest.remove(i);
            }
            None => left.push(*d),
        }
    }
    let constant = |v: &[Dim]| {
        v.iter()
            .filter_map(|d| d.known())
            .try_fold(1u64, u64::checked_mul)
            .ok_or_else(|| OpError::invalid("size overflows"))
    };
    let (n, d) = (constant(&left)?, constant(&rest)?);
    if d == 0 {
        return Err(OpError::invalid("-1 stands beside a size of 0; the missing size could be anything"));
    }
    let symbols = |v: Vec<Dim>| v.into_iter().filter(|d| d.known().is_none()).collect::<Vec<_>>();
    let (above, below) = (symbols(left), symbols(rest));
    if above.is_empty() && below.is_empty() && n % d != 0 {
        return Err(OpError::invalid(format!("{n} elements cannot be divided into rows of {d}")));
    }
    let g = gcd(n, d);
    let (mut num, mut den) = (Dim::Const(n / g), Dim::Const(d / g));
    for s in above {
        num = syms.mul(num, s);
    }
    for s in below {
        den = syms.mul(den, s);
    }
    Ok(syms.div(num, den))
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a.max(1) } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_cancel() {
        let mut s = SymTable::default();
        let n = s.named("n");
        let c = Dim::Const;
        assert_eq!(quotient(&[n, c(3), c(8)], &[c(24)], &mut s), Ok(n));
        assert_eq!(quotient(&[n, c(3), c(8)], &[n, c(4)], &mut s), Ok(c(6)));
        assert_eq!(quotient(&[c(0), c(3)], &[c(3)], &mut s), Ok(c(0)));
        assert!(quotient(&[c(7)], &[c(2)], &mut s).is_err());
        assert!(quotient(&[c(7)], &[c(0)], &mut s).is_err());
        assert!(quotient(&[c(u64::MAX), c(3)], &[c(2)], &mut s).is_err());
    }
}
