//! The networks that every path has to carry, with inputs like those that they were made for.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use mnnc::zoo;
use mnnc_ir::{Graph, Tensor};
use mnnc_schema::onnx::Message;

use crate::picture::{self, Scale};
use crate::shared;

/// Where a network comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard structure, seeded weights.
    Zoo,
    /// Trained; there only if the shared folder is.
    Shared,
}

/// One network.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// The zoo's name for it, or the file's without extension.
    pub name: &'static str,
    /// Where it comes from.
    pub source: Source,
    /// How it wants its pictures; `None`: it gets noise.
    pub pictures: Option<Scale>,
}

const fn zoo(name: &'static str) -> Network {
    Network { name, source: Source::Zoo, pictures: Some(Scale::IMAGENET) }
}

const fn shared(name: &'static str, scale: Scale) -> Network {
    Network { name, source: Source::Shared, pictures: Some(scale) }
}

/// All of them.
pub const ALL: [Network; 17] = [
    zoo("mobilenet_v2"),
    zoo("mobilenet_v3_large"),
    zoo("efficientnet_b0"),
    zoo("shufflenet_v2_x1_0"),
    zoo("squeezenet1_1"),
    zoo("resnet18"),
    zoo("resnet50"),
    zoo("vit_b_32"),
    shared("mnv2_tv1_fp32", Scale::IMAGENET),
    shared("squeezenet1.1_fp32", Scale::IMAGENET),
    shared("yolox_nano_224", Scale::BYTES),
    shared("ultraface_rfb320", Scale::SIGNED),
    shared("mediapipe_face_landmark", Scale::UNIT),
    shared("sinet_softmax", Scale::IMAGENET),
    shared("style_starry_night", Scale::BYTES),
    shared("vit_tracker", Scale::IMAGENET),
    Network { name: "mnist", source: Source::Shared, pictures: None },
];

/// The network of this name.
pub fn named(name: &str) -> Network {
    *ALL.iter().find(|n| n.name == name).unwrap_or_else(|| panic!("no network {name}"))
}

impl Network {
    /// The model file; one of the zoo is written at the first call. `None`, said aloud, if it is not there.
    pub fn file(&self) -> Option<PathBuf> {
        match self.source {
            Source::Shared => shared::file(&format!("data/models/{}.onnx", self.name)),
            Source::Zoo => Some(self.build()),
        }
    }

    fn build(&self) -> PathBuf {
        /// Two tests may want the same network at once.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/networks");
        std::fs::create_dir_all(&folder).expect("the build folder is writable");
        let model = zoo::build(self.name, &zoo::Options::default()).expect("a network of the zoo").encode_to_vec();
        let path = folder.join(format!("{}.onnx", self.name));
        // Whole or not at all: other test programs may be reading it.
        if std::fs::read(&path).ok().as_ref() != Some(&model) {
            let mut file = tempfile::NamedTempFile::new_in(&folder).expect("the build folder is writable");
            std::io::Write::write_all(&mut file, &model).expect("there is space");
            file.persist(&path).expect("the build folder is writable");
        }
        path
    }

    /// An input for each of the model's: pictures where it takes pictures and there are some, else seeded noise.
    pub fn inputs(&self, graph: &Graph) -> Vec<Tensor> {
        let noise = mnnc::inputs::all(graph, 17).expect("shapes are fixed");
        let photo = shared::file("data/photos/faces_1.jpg");
        let (Some(scale), Some(photo)) = (self.pictures, photo) else { return noise };
        let picture = |t: &Tensor| match *t.dims() {
            [1, 3, h, w] => picture::planar(&picture::scaled(&photo, h as u32, w as u32), scale),
            [1, h, w, 3] => picture::interleaved(&picture::scaled(&photo, h as u32, w as u32), scale),
            ref dims => panic!("{}: {dims:?} is no picture", self.name),
        };
        noise.iter().map(picture).collect()
    }
}
