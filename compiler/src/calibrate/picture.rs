//! From a picture's file to the numbers that a model reads.

use std::path::Path;

use image::imageops::FilterType;
use image::{DynamicImage, RgbaImage};

use super::config::{Config, PixelFormat};

/// The largest picture that is decoded, in pixels a side: a file of a few bytes can claim any size.
const MAX_SIDE: u32 = 16_384;
/// The most memory that decoding may take.
const MAX_BYTES: u64 = 512 << 20;

/// How pictures are prepared.
#[derive(Clone, Debug)]
pub struct Preparation {
    format: PixelFormat,
    mean: Vec<f32>,
    normal: Vec<f32>,
    crop: (f64, f64),
    /// Width and height of the result.
    size: (u32, u32),
    /// Whether a pixel's channels lie together (NHWC) instead of plane by plane (NCHW).
    channels_last: bool,
}

impl Preparation {
    /// What the configuration says, for a model that reads `size` = (width, height).
    pub fn new(config: &Config, size: (u32, u32), channels_last: bool) -> Preparation {
        let spread = |given: &[f32], default: f32| -> Vec<f32> {
            let at = |c: usize| match given {
                [] => default,
                [all] => *all,
                each => each[c],
            };
            (0..config.format.channels()).map(at).collect()
        };
        Preparation {
            format: config.format,
            mean: spread(&config.mean, 0.0),
            normal: spread(&config.normal, 1.0),
            crop: (config.center_crop_w, config.center_crop_h),
            size,
            channels_last,
        }
    }

    /// Decodes the picture at `path`: centre crop, resize, order of colours, `(x - mean) * normal`.
    ///
    /// # Errors
    /// Why it is no picture, in words.
    pub fn read(&self, path: &Path) -> Result<Vec<f32>, String> {
        let picture = decode(path)?;
        let keep = |whole: u32, share: f64| ((f64::from(whole) * share).round() as u32).clamp(1, whole);
        let (w, h) = (keep(picture.width(), self.crop.0), keep(picture.height(), self.crop.1));
        let (x, y) = ((picture.width() - w) / 2, (picture.height() - h) / 2);
        let mut picture = picture.crop_imm(x, y, w, h);
        if (w, h) != self.size {
            picture = picture.resize_exact(self.size.0, self.size.1, FilterType::Triangle);
        }
        Ok(self.numbers(&picture.into_rgba8()))
    }

    fn numbers(&self, picture: &RgbaImage) -> Vec<f32> {
        let channels = self.format.channels();
        let area = picture.pixels().len();
        let mut out = vec![0.0; area * channels];
        for (i, pixel) in picture.pixels().enumerate() {
            let [r, g, b, a] = pixel.0.map(f32::from);
            let values = match self.format {
                PixelFormat::Rgb | PixelFormat::Rgba => [r, g, b, a],
                PixelFormat::Bgr | PixelFormat::Bgra => [b, g, r, a],
                PixelFormat::Gray => [(0.299 * r + 0.587 * g + 0.114 * b).round(), 0.0, 0.0, 0.0],
            };
            for (c, value) in values.into_iter().take(channels).enumerate() {
                let at = if self.channels_last { i * channels + c } else { c * area + i };
                out[at] = (value - self.mean[c]) * self.normal[c];
            }
        }
        out
    }
}

fn decode(path: &Path) -> Result<DynamicImage, String> {
    let reader = image::ImageReader::open(path).and_then(image::ImageReader::with_guessed_format);
    let mut reader = reader.map_err(|e| e.to_string())?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    reader.decode().map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::Preparation;
    use crate::calibrate::Config;

    #[test]
    fn colours_are_ordered_cropped_and_scaled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        // 4x2; the middle 2x2 is (10, 20, 30) and (40, 50, 60).
        let picture = image::RgbImage::from_fn(4, 2, |x, _| match x {
            1 => image::Rgb([10, 20, 30]),
            2 => image::Rgb([40, 50, 60]),
            _ => image::Rgb([255, 255, 255]),
        });
        picture.save(&path).unwrap();
        let read = |config: &str, last: bool| {
            Preparation::new(&Config::parse(config).unwrap(), (2, 2), last).read(&path).unwrap()
        };
        let crop = r#""path":".","center_crop_w":0.5"#;
        let rgb = read(&format!(r#"{{{crop},"format":"RGB","mean":[10,20,30],"normal":[1,1,0.5]}}"#), false);
        assert_eq!(rgb, [0., 30., 0., 30., 0., 30., 0., 30., 0., 15., 0., 15.]);
        let bgr = read(&format!(r#"{{{crop}}}"#), true);
        assert_eq!(bgr[..6], [30., 20., 10., 60., 50., 40.]);
        let gray = read(&format!(r#"{{{crop},"format":"GRAY"}}"#), false);
        assert_eq!(gray, [18., 48., 18., 48.]);
        let rgba = read(&format!(r#"{{{crop},"format":"BGRA"}}"#), true);
        assert_eq!(rgba[..4], [30., 20., 10., 255.]);
    }

    #[test]
    fn what_is_no_picture_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        std::fs::write(&path, b"not a picture").unwrap();
        let preparation = Preparation::new(&Config::parse(r#"{"path":"."}"#).unwrap(), (2, 2), false);
        assert!(preparation.read(&path).is_err());
    }
}
