//! Which format a model file has, found from its content.

use crate::onnx;

/// Formats that can be told apart. [`Onnx`](Format::Onnx) and [`Mnn`](Format::Mnn) have a frontend so far.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Format {
    /// ONNX protobuf.
    Onnx,
    /// TensorFlow Lite flatbuffer.
    TfLite,
    /// TensorFlow frozen graph or SavedModel.
    TensorFlow,
    /// Caffe weights.
    Caffe,
    /// PyTorch archive or TorchScript.
    Torch,
    /// MNN flatbuffer.
    Mnn,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 6] =
        [Format::Onnx, Format::TfLite, Format::TensorFlow, Format::Caffe, Format::Torch, Format::Mnn];

    /// The name that `--from` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Format::Onnx => "onnx",
            Format::TfLite => "tflite",
            Format::TensorFlow => "tensorflow",
            Format::Caffe => "caffe",
            Format::Torch => "torch",
            Format::Mnn => "mnn",
        }
    }
    /// The format of this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|f| f.name() == name)
    }
    /// The format of a file with these bytes, or what the file seems to be instead.
    pub fn detect(bytes: &[u8]) -> Result<Format, &'static str> {
        if bytes.get(4..8) == Some(b"TFL3") {
            return Ok(Format::TfLite);
        }
        for (magic, what) in FOREIGN {
            if bytes.starts_with(magic) {
                return Err(what);
            }
        }
        if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02") {
            return Ok(Format::Torch);
        }
        if onnx::looks_like(bytes) {
            return Ok(Format::Onnx);
        }
        if looks_like_text(bytes) {
            return Err("a text file");
        }
        if mnnc_schema::mnn::root(bytes).is_ok() {
            return Ok(Format::Mnn);
        }
        match bytes {
            // A frozen TensorFlow graph starts with a node (whose first field is its name), a SavedModel with its
            // version and a meta graph.
            [0x08, 0x01, 0x12, ..] => Ok(Format::TensorFlow),
            [0x0a, _, 0x0a, ..] | [0x0a, _, _, 0x0a, ..] => Ok(Format::TensorFlow),
            [0x0a, ..] => Ok(Format::Caffe),
            _ => Err("of no known model format"),
        }
    }
}

const FOREIGN: [(&[u8], &str); 8] = [
    (b"\x89HDF", "an HDF5 (Keras) file"),
    (b"GGUF", "a GGUF file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x1f\x8b", "gzip-compressed; decompress it first"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed; decompress it first"),
    (b"\x7fELF", "an ELF program or library"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with `git lfs pull`"),
    (b"<", "an HTML or XML page"),
];

fn looks_like_text(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(512)];
    // A character may be cut in two at the end.
    let utf8 = std::str::from_utf8(head).map_or_else(|e| e.error_len().is_none(), |_| true);
    utf8 && head.iter().all(|&b| b >= 0x20 && b != 0x7f || matches!(b, b'\n' | b'\r' | b'\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_tells_the_format() {
        assert_eq!(Format::detect(b"\x08\x07\x12\x03abc"), Ok(Format::Onnx));
        assert_eq!(Format::detect(b"\x1c\0\0\0TFL3\0\0"), Ok(Format::TfLite));
        assert_eq!(Format::detect(b"PK\x03\x04"), Ok(Format::Torch));
        assert_eq!(Format::detect(b"# notes\nnothing here\n"), Err("a text file"));
        assert_eq!(Format::detect(b"\xff\xff\xff\xff\xff"), Err("of no known model format"));
        for f in Format::ALL {
            assert_eq!(Format::from_name(f.name()), Some(f));
        }
    }
}
