//! Networks of the zoo as ONNX files.

use std::path::{Path, PathBuf};

/// All of them.
pub const NAMES: [&str; 8] = [
    "mobilenet_v2",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "shufflenet_v2_x1_0",
    "squeezenet1_1",
    "resnet18",
    "resnet50",
    "vit_b_32",
];

/// Writes a network of the zoo for pictures of this many pixels a side.
pub fn zoo(name: &str, size: usize, folder: &Path) -> PathBuf {
    let path = folder.join(format!("{name}.onnx"));
    let options = mnnc::zoo::Options { size: (size, size), ..Default::default() };
    let proto = mnnc::zoo::build(name, &options).expect("a zoo network");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).expect("writable"));
    mnnc::zoo::write(&proto, &mut file).expect("writable");
    path
}
