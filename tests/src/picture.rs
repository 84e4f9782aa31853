//! Pictures as networks want them.

use std::path::Path;

use image::imageops::{FilterType, crop_imm, resize};
use image::{ImageReader, RgbImage};
use mnnc_ir::Tensor;

/// Which numbers stand for a pixel's bytes: `(byte / 255 - mean) / deviation`, channel by channel.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    mean: [f32; 3],
    deviation: [f32; 3],
}

impl Scale {
    /// The statistics of ImageNet: what classifiers trained on it want.
    pub const IMAGENET: Scale = Scale { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] };
    /// The bytes as they are.
    pub const BYTES: Scale = Scale { mean: [0.0; 3], deviation: [1.0 / 255.0; 3] };
    /// 0 to 1.
    pub const UNIT: Scale = Scale { mean: [0.0; 3], deviation: [1.0; 3] };
    /// `(byte - 127) / 128`.
    pub const SIGNED: Scale = Scale { mean: [127.0 / 255.0; 3], deviation: [128.0 / 255.0; 3] };

    fn apply(&self, channel: usize, byte: u8) -> f32 {
        (f32::from(byte) / 255.0 - self.mean[channel]) / self.deviation[channel]
    }
}

/// Reads a picture and takes its middle, without scaling.
pub fn centre(path: &Path, height: u32, width: u32) -> RgbImage {
    let picture = read(path);
    let (left, top) = ((picture.width() - width) / 2, (picture.height() - height) / 2);
    crop_imm(&picture, left, top, width, height).to_image()
}

/// Reads a picture and scales it.
pub fn scaled(path: &Path, height: u32, width: u32) -> RgbImage {
    resize(&read(path), width, height, FilterType::Triangle)
}

fn read(path: &Path) -> RgbImage {
    // The name may lie about the format.
    let reader = ImageReader::open(path).expect("the picture is there").with_guessed_format().expect("it is readable");
    reader.decode().expect("it is a picture").to_rgb8()
}

/// `f32[1, 3, height, width]`.
pub fn planar(picture: &RgbImage, scale: Scale) -> Tensor {
    let channel = |c: usize| picture.pixels().map(move |p| scale.apply(c, p.0[c]));
    let values = (0..3).flat_map(channel).collect();
    Tensor::new::<f32>([1, 3, picture.height() as usize, picture.width() as usize], values)
}

/// `f32[1, height, width, 3]`.
pub fn interleaved(picture: &RgbImage, scale: Scale) -> Tensor {
    let pixel = |p: &image::Rgb<u8>| [0, 1, 2].map(|c| scale.apply(c, p.0[c]));
    let values = picture.pixels().flat_map(pixel).collect();
    Tensor::new::<f32>([1, picture.height() as usize, picture.width() as usize, 3], values)
}
