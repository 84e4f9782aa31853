//! Classifies a picture with a network that is part of the program: `top5 PICTURE [LABELS]`.

mod mobilenet_v2;

use image::imageops::{FilterType, crop_imm, resize};
use mobilenet_v2::{CLASSES, MobileNetV2, SIDE};
use std::error::Error;

/// The picture's shorter side is scaled to this many pixels before its middle is taken.
const SHORTER: u32 = 256;
/// ImageNet's statistics, as the network was trained.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

fn read_picture(path: &str) -> Result<Box<[f32; 3 * SIDE * SIDE]>, Box<dyn Error>> {
    let picture = image::ImageReader::open(path)?.with_guessed_format()?.decode()?.to_rgb8();
    let scale = f64::from(SHORTER) / f64::from(picture.width().min(picture.height()));
    let scaled = |side: u32| (f64::from(side) * scale).round() as u32;
    let picture = resize(&picture, scaled(picture.width()), scaled(picture.height()), FilterType::CatmullRom);
    let side = SIDE as u32;
    let middle = crop_imm(&picture, (picture.width() - side) / 2, (picture.height() - side) / 2, side, side).to_image();
    let plane = |c: usize| middle.pixels().map(move |p| (f32::from(p.0[c]) / 255.0 - MEAN[c]) / DEVIATION[c]);
    let planes: Box<[f32]> = (0..3).flat_map(plane).collect();
    Ok(planes.try_into().map_err(|_| "the picture is too small")?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let picture = arguments.next().ok_or("usage: top5 PICTURE [LABELS]")?;
    let labels = arguments.next().map(std::fs::read_to_string).transpose()?.unwrap_or_default();
    let labels: Vec<&str> = labels.lines().collect();

    let picture = read_picture(&picture)?;
    let logits = MobileNetV2::new().run(&picture).ok_or("the network is not for this processor")?;
    let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
    let mut order: Vec<usize> = (0..CLASSES).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    for &class in &order[..5] {
        let number = format!("class {class}");
        let label = labels.get(class).copied().unwrap_or(&number);
        println!("{:6.2} %  {label}", 100.0 * f64::from(logits[class]).exp() / sum);
    }
    Ok(())
}
