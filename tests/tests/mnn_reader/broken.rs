//! Broken `.mnn` files: one clear error each, never a panic, bounded time and memory.
//!
//! What the reader must say to each stands in `tests/broken_mnn/NAME.txt`; `MNNC_UPDATE_EXPECTED=1` rewrites it.

use crate::mnn::samples::graph_of;
use mnnc_import::{ImportOptions, Limits, load, load_mnn_bytes};
use mnnc_ir::{Graph, Tensor};
use mnnc_ops::eval::Evaluator;
use mnnc_schema::mnn::{
    AxisT, BlobT, Convolution2DCommonT, Convolution2DT, DataType, IDSTQuanT, InputT, MNN_DATA_FORMAT, NetT,
    OpParameterT, OpT, OpType, TensorDescribeT, TensorQuantInfoT, Usage,
};
use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn op(name: &str, ty: OpType, inputs: &[i32], outputs: &[i32], main: OpParameterT) -> OpT {
    OpT {
        name: Some(name.into()),
        type_: ty,
        main,
        input_indexes: Some(inputs.to_vec()),
        output_indexes: Some(outputs.to_vec()),
        ..OpT::default()
    }
}

fn input(dims: &[i32]) -> OpT {
    let main = InputT { dims: Some(dims.to_vec()), dtype: DataType::DT_FLOAT, dformat: MNN_DATA_FORMAT::NCHW };
    op("x", OpType::Input, &[], &[0], OpParameterT::Input(Box::new(main)))
}

/// A file of these ops; the last tensor is the output.
fn net(ops: Vec<OpT>, tensors: &[&str]) -> NetT {
    NetT {
        oplists: Some(ops),
        tensor_name: Some(tensors.iter().map(|t| t.to_string()).collect()),
        output_name: tensors.last().map(|t| vec![t.to_string()]),
        ..NetT::default()
    }
}

fn relu() -> NetT {
    net(vec![input(&[1, 3, 4, 4]), op("act", OpType::ReLU, &[0], &[1], OpParameterT::NONE)], &["x", "y"])
}

fn constant(blob: BlobT) -> NetT {
    let main = OpParameterT::Blob(Box::new(blob));
    let sum = OpParameterT::BinaryOp(Box::default());
    let ops = vec![
        input(&[1, 3, 4, 4]),
        op("c", OpType::Const, &[], &[1], main),
        op("sum", OpType::BinaryOp, &[0, 1], &[2], sum),
    ];
    net(ops, &["x", "c", "y"])
}

/// A convolution of 3 to 4 channels, 1x1.
fn convolution(change: impl FnOnce(&mut Convolution2DT)) -> NetT {
    let common = Convolution2DCommonT { input_count: 3, output_count: 4, ..Convolution2DCommonT::default() };
    let mut conv =
        Convolution2DT { common: Some(Box::new(common)), bias: Some(vec![0.0; 4]), ..Convolution2DT::default() };
    change(&mut conv);
    let main = OpParameterT::Convolution2D(Box::new(conv));
    net(vec![input(&[1, 3, 4, 4]), op("conv", OpType::Convolution, &[0], &[1], main)], &["x", "y"])
}

/// The same with a coded weight.
fn coded(ty: i32, buffer: &[u8], alpha: &[f32]) -> NetT {
    convolution(|conv| {
        conv.quan_parameter = Some(Box::new(IDSTQuanT {
            type_: ty,
            buffer: Some(buffer.iter().map(|&b| b as i8).collect()),
            alpha: Some(alpha.to_vec()),
            quant_scale: 1.0,
            ..IDSTQuanT::default()
        }));
    })
}

/// Twelve codes of 2 bits.
fn dense(shape: [u8; 2], codes: usize) -> Vec<u8> {
    let mut bytes = vec![2, shape[0], 0, shape[1], 0, 4, 0xfe, 0xff, 0, 1];
    bytes.extend(vec![0x1b; codes]);
    bytes
}

fn scaled(index: i32, scale: f32, zero: f32) -> NetT {
    let info = TensorQuantInfoT { scale, zero, type_: DataType::DT_INT8, ..TensorQuantInfoT::default() };
    let entry = TensorDescribeT { index, quant_info: Some(Box::new(info)), ..TensorDescribeT::default() };
    NetT { extra_tensor_describe: Some(vec![entry]), ..relu() }
}

type Build = fn() -> NetT;

const NETS: &[(&str, Build)] = &[
    ("no_tensor_table", || NetT { tensor_name: None, ..relu() }),
    ("no_ops", || NetT { oplists: None, ..relu() }),
    ("no_outputs_of_an_op", || {
        let mut net = relu();
        net.oplists.iter_mut().flatten().for_each(|op| op.output_indexes = None);
        net
    }),
    ("index_outside_the_table", || NetT { tensor_name: Some(vec!["x".into()]), ..relu() }),
    ("negative_index", || {
        net(vec![input(&[1]), op("act", OpType::ReLU, &[-1], &[1], OpParameterT::NONE)], &["x", "y"])
    }),
    ("made_twice", || {
        let mut net = relu();
        net.oplists.iter_mut().flatten().for_each(|op| op.output_indexes = Some(vec![1]));
        net
    }),
    ("read_before_it_is_made", || {
        let ops = vec![
            input(&[1]),
            op("first", OpType::ReLU, &[2], &[1], OpParameterT::NONE),
            op("second", OpType::ReLU, &[0], &[2], OpParameterT::NONE),
        ];
        net(ops, &["x", "a", "b"])
    }),
    ("static_model", || NetT { usage: Usage::INFERENCE_STATIC, ..relu() }),
    ("several_unsupported", || {
        let ops = vec![
            input(&[1, 3, 4, 4]),
            op("det", OpType::Det, &[0], &[1], OpParameterT::NONE),
            op("behind", OpType::ReLU, &[1], &[2], OpParameterT::NONE),
            op("svd", OpType::Svd, &[0], &[3], OpParameterT::NONE),
            op("future", OpType(9999), &[2], &[4], OpParameterT::NONE),
        ];
        net(ops, &["x", "a", "b", "c", "d"])
    }),
    ("unknown_output", || NetT { output_name: Some(vec!["nobody".into()]), ..relu() }),
    ("output_never_made", || NetT {
        tensor_name: Some(vec!["x".into(), "y".into(), "z".into()]),
        output_name: Some(vec!["z".into()]),
        ..relu()
    }),
    ("parameter_missing", || {
        net(vec![input(&[1, 3]), op("soft", OpType::Softmax, &[0], &[1], OpParameterT::NONE)], &["x", "y"])
    }),
    ("axis_out_of_range", || {
        let axis = OpParameterT::Axis(Box::new(AxisT { axis: 4 }));
        net(vec![input(&[1, 3]), op("soft", OpType::Softmax, &[0], &[1], axis)], &["x", "y"])
    }),
    ("constant_too_short", || {
        constant(BlobT { dims: Some(vec![3, 4]), float32s: Some(vec![1.0; 11]), ..BlobT::default() })
    }),
    ("constant_beyond_counting", || {
        constant(BlobT { dims: Some(vec![i32::MAX; 5]), float32s: Some(vec![1.0]), ..BlobT::default() })
    }),
    ("constant_of_text", || constant(BlobT { data_type: DataType::DT_STRING, ..BlobT::default() })),
    ("operands_do_not_fit", || {
        constant(BlobT { dims: Some(vec![5]), float32s: Some(vec![1.0; 5]), ..BlobT::default() })
    }),
    ("weight_missing", || convolution(|_| ())),
    ("weight_too_short", || convolution(|conv| conv.weight = Some(vec![1.0; 11]))),
    ("bias_too_long", || {
        convolution(|conv| {
            conv.weight = Some(vec![1.0; 12]);
            conv.bias = Some(vec![1.0; 5]);
        })
    }),
    ("kernel_of_nothing", || {
        convolution(|conv| {
            if let Some(common) = &mut conv.common {
                common.kernel_x = 0;
            }
        })
    }),
    ("kernel_beyond_memory", || {
        convolution(|conv| {
            if let Some(common) = &mut conv.common {
                (common.kernel_x, common.kernel_y, common.output_count) = (i32::MAX, i32::MAX, i32::MAX);
            }
        })
    }),
    ("coded_of_unknown_type", || coded(7, &[], &[])),
    ("coded_too_short", || coded(1, &dense([4, 3], 2), &[1.0; 4])),
    ("coded_of_another_shape", || coded(1, &dense([4, 4], 4), &[1.0; 4])),
    ("coded_without_a_codebook", || coded(1, &[2, 4, 0, 3, 0], &[1.0; 4])),
    ("coded_without_scales", || coded(1, &dense([4, 3], 3), &[])),
    ("coded_with_five_scales", || coded(1, &dense([4, 3], 3), &[1.0; 5])),
    ("coded_with_a_scale_of_nan", || coded(1, &dense([4, 3], 3), &[f32::NAN; 4])),
    ("coded_with_half_a_pair", || {
        let mut net = coded(1, &dense([4, 3], 3), &[1.0; 7]);
        for op in net.oplists.iter_mut().flatten() {
            if let OpParameterT::Convolution2D(conv) = &mut op.main
                && let Some(quan) = &mut conv.quan_parameter
            {
                quan.read_type = 1;
            }
        }
        net
    }),
    ("halves_too_short", || coded(3, &[0; 23], &[])),
    ("sparse_beyond_the_end", || coded(2, &[2, 4, 0, 3, 0, 2, 0, 0, 0, 4, 0xff, 2, 3, 0xff, 0x80], &[1.0; 4])),
    ("sparse_of_billions", || coded(2, &[2, 4, 0, 3, 0, 0xff, 0xff, 0xff, 0xff, 8, 1, 2, 3], &[1.0; 4])),
    ("external_weights_missing", || convolution(|conv| conv.external = Some(vec![0, 48, 16]))),
    ("external_weights_negative", || convolution(|conv| conv.external = Some(vec![-8, 48, 16]))),
    ("scale_outside_the_table", || scaled(2, 0.5, 0.0)),
    ("scale_below_zero", || scaled(0, -0.5, 0.0)),
    ("zero_point_of_a_half", || scaled(0, 0.5, 0.5)),
];

fn bytes(net: NetT) -> Vec<u8> {
    mnnc_schema::mnn::finish(net, 1024)
}

/// All cases: a name, the file, and that beside it.
fn cases() -> Vec<(String, Vec<u8>, Option<Vec<u8>>)> {
    let whole = bytes(convolution(|conv| conv.weight = Some(vec![1.0; 12])));
    let mut cases: Vec<_> = NETS.iter().map(|(name, build)| (name.to_string(), bytes(build()), None)).collect();
    cases.push(("truncated".into(), whole[..whole.len() / 2].to_vec(), None));
    let external = bytes(convolution(|conv| conv.external = Some(vec![0, 48, 16])));
    cases.push(("external_weights_short".into(), external, Some(vec![0; 40])));
    cases
}

fn expected_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("broken_mnn")
}

#[test]
fn each_broken_file_has_its_message() {
    let update = std::env::var_os("MNNC_UPDATE_EXPECTED").is_some();
    let (mut wrong, mut built) = (Vec::new(), BTreeSet::new());
    for (name, file, beside) in cases() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("model.mnn");
        fs::write(&path, file).expect("writable");
        if let Some(beside) = beside {
            fs::write(dir.path().join("model.mnn.weight"), beside).expect("writable");
        }
        built.insert(format!("{name}.txt"));
        let options = ImportOptions { format: Some(mnnc_import::Format::Mnn), ..ImportOptions::default() };
        let error = match load(&path, &options) {
            Err(e) => e,
            Ok(_) => {
                wrong.push(format!("{name}: imported"));
                continue;
            }
        };
        let text =
            format!("exit {}\n{error}\n", error.exit_code()).replace(&dir.path().display().to_string(), "FOLDER");
        let file = expected_folder().join(format!("{name}.txt"));
        if update {
            fs::create_dir_all(expected_folder()).expect("writable");
            fs::write(&file, &text).expect("writable");
        } else if fs::read_to_string(&file).unwrap_or_default() != text {
            wrong.push(format!("{name}: got\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let listed: BTreeSet<String> = fs::read_dir(expected_folder())
        .expect("expected messages")
        .map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    assert_eq!(built, listed, "cases and files with expected messages differ");
}

/// A stream of seeded numbers (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n.max(1)
    }
}

/// The file with a few bits flipped, a word replaced by an extreme one, or its end missing.
fn mutated(original: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = original.to_vec();
    match random.below(8) {
        0 => bytes.truncate(random.below(original.len())),
        1..=3 => {
            let at = random.below(original.len() / 4) * 4;
            let word = [[0xff; 4], [0xff, 0xff, 0xff, 0x7f], [0; 4], [1, 0, 0, 0], [0, 0, 0, 0x80]][random.below(5)];
            bytes[at..at + 4].copy_from_slice(&word);
        }
        _ => {
            for _ in 0..1 + random.below(4) {
                let bit = random.below(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
    bytes
}

fn zeros(graph: &Graph) -> Option<Vec<Tensor>> {
    let one = |&v: &mnnc_ir::ValueId| {
        let n = graph.ty(v).num_bytes().filter(|&n| n <= 1 << 20)?;
        let data = mnnc_ir::bytes::Bytes::from_vec(vec![0u8; n]);
        Tensor::from_bytes(graph.ty(v).dtype, graph.ty(v).static_dims()?, data)
    };
    graph.inputs().iter().map(one).collect()
}

/// Reads and, if that works, verifies and evaluates. Says what broke.
fn survives(what: &str, bytes: Vec<u8>) -> Result<bool, String> {
    let limits = Limits { max_tensor_bytes: 16 << 20, ..Limits::default() };
    let options = ImportOptions { limits, ..ImportOptions::default() };
    let start = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| match load_mnn_bytes(bytes, &options) {
        Err(e) if e.to_string().is_empty() || !matches!(e.exit_code(), 1 | 2) => {
            Err(format!("{what}: exit {} with \"{e}\"", e.exit_code()))
        }
        Err(_) => Ok(false),
        Ok(model) => {
            model.graph.verify().map_err(|e| format!("{what}: an invalid graph: {e:?}"))?;
            if let Some(inputs) = zeros(&model.graph) {
                let _ = Evaluator::new(&model.graph).max_bytes(16 << 20).run(&inputs);
            }
            Ok(true)
        }
    }));
    if start.elapsed() > Duration::from_secs(10) {
        return Err(format!("{what}: took {:?}", start.elapsed()));
    }
    outcome.unwrap_or_else(|_| Err(format!("{what}: panicked")))
}

#[test]
fn mutated_files_are_refused_or_read() {
    let rounds: usize = std::env::var("MNNC_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for &op in mnnc_ops::ALL.iter().filter(|op| op.regions == 0) {
        for (i, sample) in mnnc_ops::samples(op, 0).into_iter().enumerate().take(3) {
            let Some((graph, _)) = graph_of(op, &sample, i == 0) else { continue };
            if let Ok(model) = mnnc_mnn::write(&graph, &mnnc_mnn::WriteOptions::default()) {
                files.push((format!("{} {i}", op.name), model));
            }
        }
    }
    for (ty, buffer) in [
        (1, dense([4, 3], 3)),
        (2, vec![2, 4, 0, 3, 0, 2, 0, 0, 0, 4, 0x14, 2, 3, 0xff, 0x80]),
        (3, vec![0x3c; 24]),
        (4, vec![5; 12]),
    ] {
        files.push((format!("coded {ty}"), bytes(coded(ty, &buffer, &[0.5; 4]))));
    }
    files.push(("scaled".into(), bytes(scaled(0, 0.5, 3.0))));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut read, mut refused, mut bad) = (0, 0, Vec::new());
    for (name, file) in &files {
        for round in 0..rounds {
            match survives(&format!("{name} round {round}"), mutated(file, &mut random)) {
                Ok(true) => read += 1,
                Ok(false) => refused += 1,
                Err(why) => bad.push(why),
            }
        }
    }
    println!("{} files: {read} mutations read, {refused} refused", files.len());
    assert!(bad.is_empty(), "{} of {}:\n{}", bad.len(), read + refused, bad.join("\n"));
}
