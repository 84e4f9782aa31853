//! From output positions to input coordinates. Single precision throughout, as ONNX Runtime computes them: which
//! element is nearest may hang on the last bit.

use mnnc_ir::OpError;

/// `coordinate_transformation_mode`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Transformation {
    /// Pixel centres coincide.
    HalfPixel,
    /// As `HalfPixel`, about the centre of the image.
    HalfPixelSymmetric,
    /// As `HalfPixel`, but 0 for a single output.
    PytorchHalfPixel,
    /// First and last pixel coincide.
    AlignCorners,
    /// Pixel corners coincide.
    Asymmetric,
    /// The region of interest is stretched over the output.
    TfCropAndResize,
}

impl Transformation {
    /// The transformation of this name.
    pub fn parse(name: &str) -> Result<Transformation, OpError> {
        Ok(match name {
            "half_pixel" => Transformation::HalfPixel,
            "half_pixel_symmetric" => Transformation::HalfPixelSymmetric,
            "pytorch_half_pixel" => Transformation::PytorchHalfPixel,
            "align_corners" => Transformation::AlignCorners,
            "asymmetric" => Transformation::Asymmetric,
            "tf_crop_and_resize" => Transformation::TfCropAndResize,
            other => return Err(OpError::invalid(format!("coordinate_transformation_mode is '{other}'"))),
        })
    }
    /// Whether a region of interest counts.
    pub fn crops(self) -> bool {
        self == Transformation::TfCropAndResize
    }
}

/// `nearest_mode`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum NearestMode {
    /// The nearer one, the lower of two equally near.
    RoundPreferFloor,
    /// The nearer one, the upper of two equally near.
    RoundPreferCeil,
    /// The lower.
    Floor,
    /// The upper.
    Ceil,
}

impl NearestMode {
    /// The mode of this name.
    pub fn parse(name: &str) -> Result<NearestMode, OpError> {
        Ok(match name {
            "round_prefer_floor" => NearestMode::RoundPreferFloor,
            "round_prefer_ceil" => NearestMode::RoundPreferCeil,
            "floor" => NearestMode::Floor,
            "ceil" => NearestMode::Ceil,
            other => return Err(OpError::invalid(format!("nearest_mode is '{other}'"))),
        })
    }
    /// The position that stands for coordinate `x`.
    pub fn position(self, x: f32) -> f32 {
        match self {
            NearestMode::RoundPreferFloor => (x - 0.5).ceil(),
            NearestMode::RoundPreferCeil => (x + 0.5).floor(),
            NearestMode::Floor => x.floor(),
            NearestMode::Ceil => x.ceil(),
        }
    }
}

/// One dimension that is resampled.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Mapping {
    /// How coordinates map.
    pub transformation: Transformation,
    /// Extent before.
    pub input: usize,
    /// Extent after.
    pub output: usize,
    /// Stretch.
    pub scale: f32,
    /// Region of interest, as fractions of the input.
    pub roi: (f32, f32),
}

impl Mapping {
    /// The coordinate as `(o + shift) * factor / divisor + offset`. A factor and a divisor, because the order of
    /// rounding matters.
    pub fn line(&self) -> Line {
        let (n, m) = (self.input as f32, self.output as f32);
        let half = Line { shift: 0.5, factor: 1.0, divisor: self.scale, offset: -0.5 };
        match self.transformation {
            Transformation::HalfPixel => half,
            Transformation::PytorchHalfPixel if self.output > 1 => half,
            Transformation::HalfPixelSymmetric => {
                let adjustment = m / (self.scale * n);
                Line { offset: n / 2.0 * (1.0 - adjustment) - 0.5, ..half }
            }
            Transformation::Asymmetric => Line { shift: 0.0, offset: 0.0, ..half },
            Transformation::AlignCorners if self.output > 1 => {
                Line { shift: 0.0, factor: n - 1.0, divisor: m - 1.0, offset: 0.0 }
            }
            Transformation::PytorchHalfPixel | Transformation::AlignCorners => Line::constant(0.0),
            Transformation::TfCropAndResize => {
                let (start, end) = self.roi;
                match self.output {
                    0 | 1 => Line::constant(0.5 * (start + end) * (n - 1.0)),
                    _ => Line {
                        shift: 0.0,
                        factor: (end - start) * (n - 1.0),
                        divisor: m - 1.0,
                        offset: start * (n - 1.0),
                    },
                }
            }
        }
    }
    /// The input coordinate of output `o`.
    pub fn coordinate(&self, o: usize) -> f32 {
        let l = self.line();
        (o as f32 + l.shift) * l.factor / l.divisor + l.offset
    }
}

/// See [`Mapping::line`].
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Line {
    /// Added to the output position.
    pub shift: f32,
    /// Then multiplied.
    pub factor: f32,
    /// Then divided by.
    pub divisor: f32,
    /// Then added.
    pub offset: f32,
}

impl Line {
    fn constant(x: f32) -> Line {
        Line { shift: 0.0, factor: 0.0, divisor: 1.0, offset: x }
    }
}

/// The weight of a sample at distance `d` under the cubic kernel with coefficient `a`.
pub fn cubic(d: f32, a: f32) -> f32 {
    let d = d.abs();
    if d <= 1.0 {
        ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    } else {
        0.0
    }
}
