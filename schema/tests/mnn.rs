//! The `.mnn` format: what is packed is read back, files of MNN's own
//! converter verify, and broken ones are refused without a panic.

use mnnc_schema::mnn::{
    self, BlobT, Convolution2DCommonT, Convolution2DT, DataType, InputT, MNN_DATA_FORMAT, NetSource, NetT,
    OpParameterT, OpT, OpType,
};
use std::collections::BTreeMap;
use std::path::PathBuf;

fn small_net() -> NetT {
    let input = OpT {
        main: OpParameterT::Input(Box::new(InputT {
            dims: Some(vec![1, 3, 4, 4]),
            dformat: MNN_DATA_FORMAT::NCHW,
            ..InputT::default()
        })),
        name: Some("x".into()),
        output_indexes: Some(vec![0]),
        type_: OpType::Input,
        ..OpT::default()
    };
    let constant = OpT {
        main: OpParameterT::Blob(Box::new(BlobT {
            dims: Some(vec![2]),
            data_type: DataType::DT_INT32,
            int32s: Some(vec![-1, 48]),
            ..BlobT::default()
        })),
        output_indexes: Some(vec![1]),
        type_: OpType::Const,
        ..OpT::default()
    };
    let conv = OpT {
        main: OpParameterT::Convolution2D(Box::new(Convolution2DT {
            common: Some(Box::new(Convolution2DCommonT {
                output_count: 2,
                relu6: true,
                pads: Some(vec![0, 0, 1, 1]),
                ..Convolution2DCommonT::default()
            })),
            weight: Some(vec![0.5; 6]),
            bias: Some(vec![0.0; 2]),
            ..Convolution2DT::default()
        })),
        input_indexes: Some(vec![0]),
        output_indexes: Some(vec![2]),
        type_: OpType::Convolution,
        ..OpT::default()
    };
    NetT {
        oplists: Some(vec![input, constant, conv]),
        source_type: NetSource::ONNX,
        tensor_name: Some(vec!["x".into(), "c".into(), "y".into()]),
        output_name: Some(vec!["y".into()]),
        ..NetT::default()
    }
}

#[test]
fn packs_and_reads_back() {
    let bytes = mnn::finish(small_net(), 64);
    let net = mnn::root(&bytes).expect("own file verifies");
    assert_eq!(net.source_type(), NetSource::ONNX);
    let names: Vec<_> = net.tensor_name().expect("names").iter().collect();
    assert_eq!(names, ["x", "c", "y"]);
    let ops = net.oplists().expect("ops");
    let input = ops.get(0).main_as_input().expect("input");
    assert_eq!(input.dims().expect("dims").iter().collect::<Vec<_>>(), [1, 3, 4, 4]);
    assert_eq!(input.dtype(), DataType::DT_FLOAT, "a default that is not zero");
    assert_eq!(ops.get(0).default_dimention_format(), MNN_DATA_FORMAT::NHWC);
    assert!(ops.get(1).main_as_input().is_none(), "the tag is checked");
    let blob = ops.get(1).main_as_blob().expect("blob");
    assert_eq!(blob.int32s().expect("data").iter().collect::<Vec<_>>(), [-1, 48]);
    let conv = ops.get(2).main_as_convolution2_d().expect("convolution");
    let common = conv.common().expect("common");
    assert_eq!((common.output_count(), common.stride_x(), common.relu6(), common.relu()), (2, 1, true, false));
    assert_eq!(conv.weight().expect("weight").len(), 6);
    assert_eq!(ops.get(2).type_().variant_name(), Some("Convolution"));
    assert_eq!(mnn::op_parameter_name(ops.get(2).main_tag()), Some("Convolution2D"));
}

#[test]
fn defaults_take_no_room_and_bytes_repeat() {
    let bytes = mnn::finish(NetT::default(), 64);
    assert!(bytes.len() <= 16, "{} bytes for an empty net", bytes.len());
    assert_eq!(mnn::finish(small_net(), 1), mnn::finish(small_net(), 4096));
}

/// Reads everything that a loader would, and returns a sum so that nothing is optimised away.
fn walk(net: &mnn::Net) -> usize {
    let mut sum = net.tensor_name().map_or(0, |names| names.iter().map(str::len).sum());
    for op in net.oplists().iter().flatten() {
        sum += op.name().map_or(0, str::len) + op.input_indexes().map_or(0, |v| v.len());
        if let Some(conv) = op.main_as_convolution2_d() {
            sum += conv.weight().map_or(0, |w| w.iter().filter(|w| *w > 0.0).count());
        }
        if let Some(blob) = op.main_as_blob() {
            sum += blob.int32s().map_or(0, |v| v.iter().filter(|v| *v > 0).count());
        }
    }
    sum
}

#[test]
fn truncated_and_flipped_bytes_do_not_panic() {
    let bytes = mnn::finish(small_net(), 64);
    for length in 0..bytes.len() {
        if let Ok(net) = mnn::root(&bytes[..length]) {
            walk(&net);
        }
    }
    assert!(mnn::root(&bytes[..bytes.len() / 2]).is_err());
    let mut refused = 0;
    for bit in 0..bytes.len() * 8 {
        let mut broken = bytes.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        match mnn::root(&broken) {
            Ok(net) => drop(walk(&net)),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > bytes.len(), "only {refused} of {} flips refused", bytes.len() * 8);
}

#[test]
fn files_of_the_converter_verify() {
    let shared = std::env::var_os("MNNC_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let cases = [
        ("mnv2_tv1_fp32.mnn", "Convolution", 36),
        ("ultraface_rfb320.mnn", "ConvolutionDepthwise", 18),
        ("ultraface_rfb320_int8_kl.mnn", "DepthwiseConvInt8", 18),
    ];
    for (file, op, count) in cases {
        let Ok(bytes) = std::fs::read(shared.join("data/models").join(file)) else {
            eprintln!("skipped: {file} is not in {}", shared.display());
            continue;
        };
        let net = mnn::root(&bytes).expect(file);
        let mut histogram = BTreeMap::new();
        for op in net.oplists().expect("ops") {
            *histogram.entry(op.type_().variant_name().expect("known op")).or_insert(0) += 1;
        }
        assert_eq!(histogram.get(op), Some(&count), "{file}: {histogram:?}");
        assert!(walk(&net) > 0);
        println!("{file}: {histogram:?}");
    }
}
