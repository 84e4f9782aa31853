//! NumPy's `.npy` files: tensors in and out.
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>, versions 1 to 3. Element types
//! are those of tensors; bfloat16, which NumPy lacks, is written as f32.

use std::io::{self, Write};
use std::path::Path;

use mnnc_ir::bytes::Bytes;
use mnnc_ir::{DType, Tensor};

use crate::error::{self, Result};
use mnnc_ir::diag::Diagnostic;

const MAGIC: &[u8] = b"\x93NUMPY";

/// Reads the tensor in the file at `path`.
///
/// # Errors
/// The file cannot be read or is not an array that a tensor can hold.
pub fn read(path: &Path) -> Result<Tensor> {
    let bytes = std::fs::read(path).map_err(|e| error::file("read", path, &e))?;
    parse(&bytes).map_err(|reason| Diagnostic::bad_input(reason).file(path.display()).into())
}

/// Writes `tensor` as a `.npy` file, whole or not at all.
///
/// # Errors
/// Those of the file system.
pub fn write(path: &Path, tensor: &Tensor) -> Result<()> {
    crate::output::write_whole(path, |out| encode(tensor, out)).map_err(|e| error::file("write", path, &e))
}

/// Reads a tensor from the bytes of a `.npy` file.
///
/// # Errors
/// What is wrong, without the file's name.
pub fn parse(file: &[u8]) -> std::result::Result<Tensor, String> {
    let (header, data) = split(file).ok_or("not a NumPy .npy file")?;
    let header = std::str::from_utf8(header).map_err(|_| "the header is not text")?;
    let field = |key: &str| field(header, key).ok_or_else(|| format!("the header lacks {key}"));
    let (dtype, swap) = element_type(field("descr")?)?;
    let dims = shape(field("shape")?)?;
    let size = dims.iter().try_fold(dtype.size(), |n, &d| n.checked_mul(d));
    if size != Some(data.len()) {
        return Err(format!("shape {dims:?} of {dtype} does not take the {} bytes that follow the header", data.len()));
    }
    let mut data = data.to_vec();
    if swap {
        data.chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
    }
    match field("fortran_order")? {
        "False" => {}
        "True" => data = row_major(&data, &dims, dtype.size()),
        other => return Err(format!("fortran_order is {other}")),
    }
    Tensor::from_bytes(dtype, dims, Bytes::from_vec(data)).ok_or_else(|| "wrong size".into())
}

/// Header text and data.
fn split(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = file.strip_prefix(MAGIC)?;
    let (&[major, _minor], rest) = rest.split_first_chunk()?;
    let (length, rest) = match major {
        1 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::try_from(u32::from_le_bytes(*length)).ok()?, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// The value of `'key'` in the header, a Python dictionary literal.
fn field<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("'{key}'"))?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start();
    let end = if rest.starts_with('(') { rest.find(')')? + 1 } else { rest.find([',', '}'])? };
    Some(rest[..end].trim())
}

/// The element type of a `descr` and whether its bytes are big-endian.
fn element_type(descr: &str) -> std::result::Result<(DType, bool), String> {
    let text = descr.trim_matches('\'');
    let (swap, code) = match text.split_at_checked(1) {
        Some(("<" | "|" | "=", code)) => (false, code),
        Some((">", code)) => (true, code),
        _ => (false, text),
    };
    let dtype = match code {
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        "i1" => DType::I8,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "u1" => DType::U8,
        "u2" => DType::U16,
        "u4" => DType::U32,
        "u8" => DType::U64,
        "b1" => DType::Bool,
        _ => {
            return Err(format!("elements of type {descr} have no tensor type; convert with numpy's astype"));
        }
    };
    Ok((dtype, swap))
}

fn shape(text: &str) -> std::result::Result<Vec<usize>, String> {
    let wrong = || format!("shape {text} is not a tuple of sizes");
    let inner = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')).ok_or_else(wrong)?;
    let parts = inner.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().map_err(|_| wrong())).collect()
}

/// Column-major elements in row-major order.
fn row_major(data: &[u8], dims: &[usize], size: usize) -> Vec<u8> {
    let mut result = Vec::with_capacity(data.len());
    let mut index = vec![0; dims.len()];
    for _ in 0..data.len() / size {
        let position = index.iter().zip(dims).rev().fold(0, |at, (i, d)| at * d + i);
        result.extend_from_slice(&data[position * size..][..size]);
        for (i, d) in index.iter_mut().zip(dims).rev() {
            *i += 1;
            if *i < *d {
                break;
            }
            *i = 0;
        }
    }
    result
}

fn encode(tensor: &Tensor, out: &mut impl Write) -> io::Result<()> {
    let descr = match tensor.dtype() {
        DType::F16 => "<f2",
        DType::F32 | DType::BF16 => "<f4",
        DType::F64 => "<f8",
        DType::I8 => "|i1",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::U8 => "|u1",
        DType::U16 => "<u2",
        DType::U32 => "<u4",
        DType::U64 => "<u8",
        DType::Bool => "|b1",
    };
    let dims: Vec<String> = tensor.dims().iter().map(|d| format!("{d}, ")).collect();
    let shape = dims.concat();
    // Python reads `(3)` as a number: one size keeps its comma.
    let shape = if dims.len() == 1 { shape.trim_end() } else { shape.trim_end_matches(", ") };
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    // Data starts at a multiple of 64 bytes; the header ends in a newline.
    let before = MAGIC.len() + 4;
    let length = (before + header.len() + 1).next_multiple_of(64) - before;
    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    out.write_all(&u16::try_from(length).map_err(io::Error::other)?.to_le_bytes())?;
    out.write_all(format!("{header:<width$}\n", width = length - 1).as_bytes())?;
    if tensor.dtype() == DType::BF16 {
        for value in tensor.to_f64s() {
            out.write_all(&(value as f32).to_le_bytes())?;
        }
        return Ok(());
    }
    out.write_all(tensor.bytes())
}

#[cfg(test)]
mod tests {
    use mnnc_ir::Tensor;

    use super::{encode, parse};

    fn file(tensor: &Tensor) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(tensor, &mut bytes).unwrap();
        bytes
    }

    fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn round_trips() {
        let tensors = [
            Tensor::new([2, 3], vec![1.0f32, -2.0, 3.5, 0.0, f32::MAX, -0.0]),
            Tensor::new([4], vec![1i64, -2, i64::MIN, 9]),
            Tensor::scalar(2.5f64),
            Tensor::bools([2], vec![true, false]),
            Tensor::new([0, 3], Vec::<u8>::new()),
        ];
        for tensor in tensors {
            let bytes = file(&tensor);
            let back = parse(&bytes).unwrap();
            assert_eq!((back.dtype(), back.dims()), (tensor.dtype(), tensor.dims()));
            assert_eq!(&back.bytes()[..], &tensor.bytes()[..]);
        }
    }

    #[test]
    fn headers_are_those_of_numpy() {
        let bytes = file(&Tensor::new([3], vec![1.0f32, 2.0, 3.0]));
        assert_eq!(bytes.len(), 128 + 12);
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }";
        assert_eq!(&bytes[10..10 + header.len()], header.as_bytes());
        assert_eq!(bytes[127], b'\n');
    }

    #[test]
    fn fortran_order_and_big_endian() {
        let header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n";
        let columns = [0, 1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6];
        let tensor = parse(&with_header(header, &columns)).unwrap();
        assert_eq!(tensor.to_i64s().unwrap(), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn hostile_files_are_refused() {
        let good = file(&Tensor::new([3], vec![1.0f32, 2.0, 3.0]));
        for end in 0..good.len() {
            assert!(parse(&good[..end]).is_err(), "{end} bytes");
        }
        let refused = |header: &str| parse(&with_header(header, &[0; 8])).unwrap_err();
        let huge = "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }";
        assert!(refused(huge).contains("does not take"));
        let object = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }";
        assert!(refused(object).contains("astype"));
        let negative = "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }";
        assert!(refused(negative).contains("tuple of sizes"));
        assert!(refused("{'shape': (2").contains("lacks descr"));
    }
}
