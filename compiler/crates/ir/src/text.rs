//! Lexical matters that printer and parser share: identifiers, strings, number literals.

use crate::dtype::DType;
use crate::tensor::Tensor;
use half::{bf16, f16};

/// Whether a character may stand in an unquoted value or node name.
pub(crate) fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '$')
}

/// A name as it is printed: bare if it is plain, quoted otherwise.
pub(crate) fn name(s: &str) -> String {
    if !s.is_empty() && s.chars().all(is_name_char) { s.to_string() } else { quote(s) }
}

/// A symbolic size as it is printed: bare if it reads as an identifier, quoted otherwise.
pub(crate) fn ident(s: &str) -> String {
    let mut chars = s.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if first && chars.all(|c| c.is_ascii_alphanumeric() || c == '_') { s.to_string() } else { quote(s) }
}

/// A quoted string on one line.
pub(crate) fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A float that reads back to the same bits, NaNs included.
pub(crate) fn float(x: f32) -> String {
    if x.is_nan() { format!("nan:{:08x}", x.to_bits()) } else { format!("{x:?}") }
}

/// Element `i` of a tensor as text that reads back to the same bits.
pub(crate) fn element(t: &Tensor, i: usize) -> String {
    match t.dtype() {
        DType::F32 => float(t.view::<f32>()[i]),
        DType::F64 => {
            let x = t.view::<f64>()[i];
            if x.is_nan() { format!("nan:{:016x}", x.to_bits()) } else { format!("{x:?}") }
        }
        DType::F16 => {
            let x = t.view::<f16>()[i];
            if x.is_nan() { format!("nan:{:04x}", x.to_bits()) } else { format!("{:?}", x.to_f32()) }
        }
        DType::BF16 => {
            let x = t.view::<bf16>()[i];
            if x.is_nan() { format!("nan:{:04x}", x.to_bits()) } else { format!("{:?}", x.to_f32()) }
        }
        DType::Bool => (t.view::<u8>()[i] != 0).to_string(),
        DType::U64 => t.view::<u64>()[i].to_string(),
        DType::U32 => t.view::<u32>()[i].to_string(),
        DType::U16 => t.view::<u16>()[i].to_string(),
        DType::U8 => t.view::<u8>()[i].to_string(),
        DType::I64 => t.view::<i64>()[i].to_string(),
        DType::I32 => t.view::<i32>()[i].to_string(),
        DType::I16 => t.view::<i16>()[i].to_string(),
        DType::I8 => t.view::<i8>()[i].to_string(),
    }
}

/// A tensor of `dtype` from element texts, or what is wrong with one of them.
pub(crate) fn tensor(dtype: DType, dims: Vec<usize>, items: &[&str]) -> Result<Tensor, String> {
    fn parse<T: std::str::FromStr>(items: &[&str], d: DType) -> Result<Vec<T>, String> {
        items.iter().map(|s| s.parse().map_err(|_| format!("`{s}` is not a {d} element"))).collect()
    }
    fn bits(s: &str) -> Option<u64> {
        s.strip_prefix("nan:").and_then(|h| u64::from_str_radix(h, 16).ok())
    }
    macro_rules! floats {
        ($t:ty, $b:ty, $via:ty, $from:expr) => {{
            let mut out: Vec<$t> = Vec::with_capacity(items.len());
            for s in items {
                out.push(match bits(s) {
                    Some(b) => <$t>::from_bits(b as $b),
                    None => $from(s.parse::<$via>().map_err(|_| format!("`{s}` is not a {dtype} element"))?),
                });
            }
            Tensor::new(dims, out)
        }};
    }
    macro_rules! ints {
        ($t:ty) => {
            Tensor::new(dims, parse::<$t>(items, dtype)?)
        };
    }
    if dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d)) != Some(items.len()) {
        return Err(format!("{} element(s) for shape {dims:?}", items.len()));
    }
    Ok(match dtype {
        DType::F32 => floats!(f32, u32, f32, |x| x),
        DType::F64 => floats!(f64, u64, f64, |x| x),
        DType::F16 => floats!(f16, u16, f32, f16::from_f32),
        DType::BF16 => floats!(bf16, u16, f32, bf16::from_f32),
        DType::Bool => Tensor::bools(dims, parse::<bool>(items, dtype)?),
        DType::I8 => ints!(i8),
        DType::I16 => ints!(i16),
        DType::I32 => ints!(i32),
        DType::I64 => ints!(i64),
        DType::U8 => ints!(u8),
        DType::U16 => ints!(u16),
        DType::U32 => ints!(u32),
        DType::U64 => ints!(u64),
    })
}
