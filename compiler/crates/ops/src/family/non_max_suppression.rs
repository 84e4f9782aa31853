//! Selection of boxes that overlap little.

use crate::define::BASE;
use crate::real::Evaluated;
use crate::sample::{Gen, draft};
use mnnc_ir::attr::AttrDefault;
use mnnc_ir::decl::{EvalCtx, Sample};
use mnnc_ir::{
    AttrDecl, AttrKind, DType, DTypeSet, Dim, OpCtx, OpDecl, OpError, Operand, SymTable, Tensor, TensorType,
};

/// Non-maximum suppression.
pub static NON_MAX_SUPPRESSION: OpDecl = OpDecl {
    name: "non_max_suppression",
    family: "sort",
    doc: "For each image and class, takes boxes by falling score, skipping those that overlap a taken one by more than \
          `iou_threshold` (intersection over union). boxes: [N,B,4], scores: [N,C,B]; result: [selected, 3] rows of image, \
          class, box. ONNX NonMaxSuppression.",
    inputs: &[
        Operand::required("boxes", DTypeSet::FLOAT),
        Operand::required("scores", DTypeSet::FLOAT),
        Operand::optional("max_output_boxes_per_class", DTypeSet::I64),
        Operand::optional("iou_threshold", DTypeSet::FLOAT),
        Operand::optional("score_threshold", DTypeSet::FLOAT),
    ],
    outputs: &[Operand::required("selected_indices", DTypeSet::I64)],
    attrs: &[AttrDecl::with_default(
        "center_point_box",
        AttrKind::Int,
        AttrDefault::Int(0),
        "0: boxes are [y1,x1,y2,x2], corners in any order; 1: [x centre, y centre, width, height]",
    )],
    infer,
    eval,
    samples,
    ..BASE
};

fn infer(ctx: &OpCtx, syms: &mut SymTable) -> Result<Vec<TensorType>, OpError> {
    let (boxes, scores) = (ctx.input(0)?, ctx.input(1)?);
    let differ = |a: Dim, b: Dim| matches!((a, b), (Dim::Const(x), Dim::Const(y)) if x != y);
    if boxes.rank() != 3 || scores.rank() != 3 || differ(boxes.dims[2], Dim::Const(4)) {
        return Err(OpError::invalid("boxes must be [N,B,4] and scores [N,C,B]"));
    }
    if differ(boxes.dims[0], scores.dims[0]) || differ(boxes.dims[1], scores.dims[2]) {
        return Err(OpError::invalid("boxes and scores are of different numbers of images or boxes"));
    }
    if !(0..=1).contains(&ctx.int("center_point_box").unwrap_or(0)) {
        return Err(OpError::invalid("center_point_box must be 0 or 1"));
    }
    Ok(vec![TensorType::new(DType::I64, [syms.fresh(), Dim::Const(3)])])
}

/// Corners, the lower first: y1, x1, y2, x2.
fn corners(b: &[f64], centre: bool) -> [f64; 4] {
    if centre {
        let (x, y, w, h) = (b[0], b[1], b[2] / 2.0, b[3] / 2.0);
        [y - h, x - w, y + h, x + w]
    } else {
        [b[0].min(b[2]), b[1].min(b[3]), b[0].max(b[2]), b[1].max(b[3])]
    }
}

fn iou(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let side = |i: usize| (a[i + 2].min(b[i + 2]) - a[i].max(b[i])).max(0.0);
    let area = |r: &[f64; 4]| (r[2] - r[0]) * (r[3] - r[1]);
    let both = side(0) * side(1);
    let either = area(a) + area(b) - both;
    if both <= 0.0 || area(a) <= 0.0 || area(b) <= 0.0 || either <= 0.0 { 0.0 } else { both / either }
}

fn eval(ctx: &EvalCtx) -> Evaluated {
    let (boxes, scores) = (ctx.input(0)?, ctx.input(1)?);
    let first = |i: usize| ctx.opt_input(i).and_then(|t| t.to_f64s().first().copied());
    let most = first(2).unwrap_or(0.0).max(0.0) as usize;
    let iou_limit = first(3).unwrap_or(0.0);
    let score_limit = first(4);
    let centre = ctx.op.int("center_point_box") == Some(1);
    let &[images, classes, count] = scores.dims() else { return Err(OpError::invalid("scores must be [N,C,B]")) };
    let (corner_list, score_list) = (boxes.to_f64s(), scores.to_f64s());
    let rects: Vec<[f64; 4]> = corner_list.chunks_exact(4).map(|b| corners(b, centre)).collect();
    let mut out = Vec::new();
    for (image, class) in (0..images).flat_map(|i| (0..classes).map(move |c| (i, c))) {
        let scores = &score_list[(image * classes + class) * count..][..count];
        let rects = &rects[image * count..][..count];
        let mut order: Vec<usize> = (0..count).filter(|&b| score_limit.is_none_or(|t| scores[b] > t)).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        let mut taken: Vec<usize> = Vec::new();
        for b in order {
            if taken.len() == most {
                break;
            }
            if taken.iter().all(|&t| iou(&rects[t], &rects[b]) <= iou_limit) {
                taken.push(b);
            }
        }
        out.extend(taken.iter().flat_map(|&b| [image as i64, class as i64, b as i64]));
    }
    Ok(vec![Tensor::new(vec![out.len() / 3, 3], out)])
}

fn samples(seed: u64) -> Vec<Sample> {
    let mut g = Gen::new(seed);
    (0..4)
        .map(|case| {
            let (n, c, b) = (1 + g.below(2), 1 + g.below(3), 1 + g.below(12));
            let boxes = g.tensor(DType::F32, &[n, b, 4], 0.1, 1.0);
            let scores = g.tensor(DType::F32, &[n, c, b], 0.0, 1.0);
            let d = draft().data(boxes).data(scores).ints(&[g.int(1, 5)]);
            let d = d.param(Tensor::new(vec![1], vec![g.float(0.1, 0.7) as f32]));
            let d = if case % 2 == 0 { d } else { d.param(Tensor::new(vec![1], vec![0.3f32])) };
            d.attr("center_point_box", i64::from(case == 3)).done()
        })
        .collect()
}
