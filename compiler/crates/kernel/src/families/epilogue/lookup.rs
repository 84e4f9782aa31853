//! Parts of a formula that are functions of one byte, and so a table of 256.
//!
//! A graph that rounds between its ops (`conv`, `quantize`, `dequantize`, `sigmoid`, `quantize`, …) computes everything behind its first byte from
//! that byte alone. The table is the reference evaluator's own result, so it is exact however costly the function is.

use super::{Expr, integer, known, operands};
use mnnc_ir::scalar::{Binary, ScalarFn, ScalarNode, Unary};
use mnnc_ir::{DType, Tensor};
use mnnc_ops::lanes;
use mnnc_vector::Target;

/// A node as a function of an earlier one, both of 8 bits.
#[derive(Clone)]
pub(super) struct Lookup {
    /// The byte that selects.
    pub index: Expr,
    /// What each byte gives, by its bits.
    pub table: [u8; 256],
}

/// What a node depends on besides constants.
#[derive(Copy, Clone, PartialEq)]
enum Origin {
    Nothing,
    Byte(Expr),
    More,
}

/// For each node of 8 bits the earliest byte that it is a function of, if that is another node.
pub(super) fn indices(f: &ScalarFn) -> Vec<Option<Expr>> {
    let mut origins: Vec<Origin> = Vec::with_capacity(f.nodes.len());
    let mut found = vec![None; f.nodes.len()];
    for (i, (node, dtype)) in f.nodes.iter().enumerate() {
        let of = |e: &Expr| origins[e.0 as usize];
        let all = |es: &[&Expr]| es.iter().map(|e| of(e)).fold(Origin::Nothing, both);
        let origin = match node {
            ScalarNode::Const(_) => Origin::Nothing,
            ScalarNode::Arg(_) | ScalarNode::Axis(_) | ScalarNode::Load { .. } => Origin::More,
            ScalarNode::Unary(_, a) | ScalarNode::Cast(a) => of(a),
            ScalarNode::Binary(_, a, b) | ScalarNode::Compare(_, a, b) => all(&[a, b]),
            ScalarNode::Select(c, a, b) => all(&[c, a, b]),
        };
        let byte = matches!(dtype, DType::U8 | DType::I8);
        origins.push(match origin {
            Origin::More if byte => Origin::Byte(Expr(i as u32)),
            Origin::Byte(e) if byte => {
                found[i] = Some(e);
                origin
            }
            _ => origin,
        });
    }
    found
}

fn both(a: Origin, b: Origin) -> Origin {
    match (a, b) {
        (Origin::Nothing, x) | (x, Origin::Nothing) => x,
        (x, y) if x == y => x,
        _ => Origin::More,
    }
}

/// The table of a node of 8 bits that is a function of `index`.
pub(super) fn tabulate(f: &ScalarFn, result: Expr, index: Expr) -> Option<Lookup> {
    let args = f.nodes.iter().filter_map(|(n, _)| if let ScalarNode::Arg(i) = n { Some(i + 1) } else { None });
    let new = args.max().unwrap_or(0);
    let mut function = ScalarFn { nodes: f.nodes[..=result.0 as usize].to_vec(), result };
    function.nodes[index.0 as usize].0 = ScalarNode::Arg(new);
    let mut inputs: Vec<Option<Tensor>> = vec![None; new + 1];
    let bytes = 0..=255u8;
    inputs[new] = Some(match f.dtype(index) {
        DType::I8 => Tensor::new([256], bytes.map(u8::cast_signed).collect::<Vec<i8>>()),
        _ => Tensor::new([256], bytes.collect::<Vec<u8>>()),
    });
    let values = lanes::map(&function, &inputs, &[256]).ok()?;
    Some(Lookup { index, table: values.bytes()[..].try_into().ok()? })
}

/// Instructions of a node from `index` on, as a rough count: an exponential is a dozen, a division keeps its unit as long.
pub(super) fn cost(f: &ScalarFn, result: Expr, index: Expr) -> usize {
    let mut live = vec![false; f.nodes.len()];
    live[result.0 as usize] = true;
    let mut sum = 0;
    for i in (index.0 as usize + 1..=result.0 as usize).rev() {
        if !live[i] {
            continue;
        }
        let e = Expr(i as u32);
        for o in operands(f, e) {
            live[o.0 as usize] = true;
        }
        sum += if known::known(f, f.node(e)).is_some() {
            16
        } else if integer::conversion(f, e).is_some() {
            5
        } else {
            match f.node(e) {
                ScalarNode::Const(_) => 0,
                ScalarNode::Unary(Unary::Exp | Unary::Log | Unary::Tanh | Unary::Erf, _) => 14,
                ScalarNode::Unary(Unary::Sqrt, _) | ScalarNode::Binary(Binary::Div, ..) => 10,
                _ => 1,
            }
        };
    }
    sum
}

/// Instructions of a lookup, roughly.
pub(super) fn cost_of_one(target: &Target) -> usize {
    match (target.has_wide_byte_tables(), target.is_x64()) {
        (true, _) => 6,
        (false, true) => 46,
        (false, false) => 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mnnc_ir::scalar::ScalarBuilder;

    /// `u8(round(x / scale) + 128)`, and back.
    fn quantize(b: &mut ScalarBuilder, x: Expr, scale: f64) -> Expr {
        let (scale, zero) = (b.constant(scale, DType::F32), b.constant(128.0, DType::F32));
        let x = b.div(x, scale);
        let x = b.unary(Unary::Round, x);
        let x = b.add(x, zero);
        b.cast(x, DType::U8)
    }

    fn dequantize(b: &mut ScalarBuilder, q: Expr, scale: f64) -> Expr {
        let (scale, zero) = (b.constant(scale, DType::F32), b.constant(128.0, DType::F32));
        let x = b.cast(q, DType::F32);
        let x = b.sub(x, zero);
        b.mul(x, scale)
    }

    #[test]
    fn what_follows_a_byte_is_a_table_of_it() {
        let mut b = ScalarBuilder::new();
        let (x, side) = (b.arg(0, DType::F32), b.arg(1, DType::F32));
        let first = quantize(&mut b, x, 0.1);
        let y = dequantize(&mut b, first, 0.1);
        let tanh = b.unary(Unary::Tanh, y);
        let inner = quantize(&mut b, tanh, 0.01);
        let z = dequantize(&mut b, inner, 0.01);
        let z = b.mul(y, z);
        let product = quantize(&mut b, z, 0.05);
        let sum = dequantize(&mut b, product, 0.05);
        let sum = b.add(sum, side);
        let result = quantize(&mut b, sum, 0.1);
        let f = b.finish(result);

        let found = indices(&f);
        assert_eq!(found[first.0 as usize], None);
        assert_eq!(found[inner.0 as usize], Some(first));
        assert_eq!(found[product.0 as usize], Some(first));
        // The other operand of the sum is no function of that byte.
        assert_eq!(found[result.0 as usize], None);

        let lookup = tabulate(&f, product, first).expect("a table");
        for (q, got) in lookup.table.iter().enumerate() {
            let y = (q as f32 - 128.0) * 0.1;
            let t = ((y.tanh() / 0.01).round_ties_even() + 128.0).clamp(0.0, 255.0);
            let want = ((y * ((t - 128.0) * 0.01)) / 0.05).round_ties_even() + 128.0;
            assert_eq!(f32::from(*got), want.clamp(0.0, 255.0), "{q}");
        }
        assert!(cost(&f, product, first) > cost(&f, inner, first));
    }

    #[test]
    fn signed_bytes_select_by_their_bits() {
        let mut b = ScalarBuilder::new();
        let q = b.arg(0, DType::I8);
        let x = b.cast(q, DType::F32);
        let x = b.unary(Unary::Abs, x);
        let result = b.cast(x, DType::I8);
        let f = b.finish(result);
        assert_eq!(indices(&f)[result.0 as usize], Some(q));
        let table = tabulate(&f, result, q).expect("a table").table;
        assert_eq!([table[5], table[0xfb], table[0x80]], [5, 5, 127]);
    }
}
