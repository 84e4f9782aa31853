//! Control flow.

use crate::onnx::model::Importer;
use crate::onnx::node::{Converted, NodeCx, op};
use crate::onnx::table::{Row, with};
use mnnc_ir::{Attrs, DType, Dim, OpError, RegionId, Tensor, TensorType};
use mnnc_schema::onnx::GraphProto;

pub(super) static ROWS: &[Row] = &[with("If", branch), with("Loop", repeat), with("Scan", scan)];

fn branch(cx: &mut NodeCx) -> Converted {
    let cond = cx.input(0)?;
    if let Some(c) = cx.constant(0) {
        let taken = match c.to_i64s().as_deref() {
            Some([c]) => {
                if *c != 0 {
                    "then_branch"
                } else {
                    "else_branch"
                }
            }
            _ => return Err(OpError::invalid("the condition must be one bool")),
        };
        let g = cx.sub_graph(taken)?;
        return cx.imp.inline_branch(g);
    }
    let mut regions = Vec::new();
    for name in ["then_branch", "else_branch"] {
        let g = cx.sub_graph(name)?;
        regions.push(cx.imp.body(g, &[])?);
    }
    cx.finish_with(op("if")?, vec![Some(cond)], Attrs::new(), cx.node.output.len(), regions)
}

/// The body with these parameters, of which the first `fixed` keep their types. Where a carried value (result `r` for
/// parameter `p`, in `carried`) comes out in another shape than it went in, the sizes that differ are left open.
fn settled(
    imp: &mut Importer,
    g: &GraphProto,
    params: &[Option<TensorType>],
    carried: &[(usize, usize)],
) -> Result<RegionId, OpError> {
    let mut params = params.to_vec();
    // Each round opens at least one more size.
    loop {
        let region = imp.body(g.clone(), &params)?;
        let results = imp.build.graph.region(region).results().to_vec();
        let mut opened = false;
        for &(p, r) in carried {
            let (Some(Some(want)), Some(&v)) = (params.get_mut(p), results.get(r)) else { continue };
            let have = imp.build.graph.ty(v).clone();
            if have.rank() != want.rank() || have.dtype != want.dtype {
                continue;
            }
            for (w, h) in want.dims.iter_mut().zip(&have.dims) {
                if w != h && matches!(w, Dim::Const(_)) {
                    *w = imp.build.graph.syms.fresh();
                    opened = true;
                }
            }
        }
        if !opened {
            return Ok(region);
        }
        imp.build.graph.set_results(region, Vec::new());
        for n in imp.build.graph.region(region).nodes().to_vec().into_iter().rev() {
            imp.build.graph.erase_node(n);
        }
    }
}

fn repeat(cx: &mut NodeCx) -> Converted {
    let g = cx.sub_graph("body")?;
    let mut params = vec![
        Some(TensorType::new(DType::I64, Vec::<Dim>::new())),
        Some(TensorType::new(DType::Bool, Vec::<Dim>::new())),
    ];
    let carried = cx.inputs.len().saturating_sub(2);
    for i in 0..carried {
        params.push(Some(cx.ty(cx.input(i + 2)?).clone()));
    }
    let pairs: Vec<(usize, usize)> = (0..carried).map(|i| (i + 2, i + 1)).collect();
    let region = settled(cx.imp, &g, &params, &pairs)?;
    let mut inputs = cx.inputs.clone();
    inputs.resize(carried + 2, None);
    // Trip count and condition are scalars; some exporters write them as vectors of one.
    for i in inputs.iter_mut().take(2) {
        if let Some(v) = *i
            && cx.ty(v).rank() == 1
        {
            let scalar = cx.add_const(Tensor::ints(&[]));
            *i = Some(cx.emit("reshape", &[v, scalar], Attrs::new())?);
        }
    }
    let outputs = g.output.len().saturating_sub(1);
    cx.finish_with(op("loop")?, inputs, Attrs::new(), outputs, vec![region])
}

/// Opset 8 had a batch dimension; since opset 9 there is none.
fn scan(cx: &mut NodeCx) -> Converted {
    if cx.opset < 9 {
        return Err(OpError::unsupported("Scan of opset 8 is not supported; convert the model to opset 9 or newer"));
    }
    let g = cx.sub_graph("body")?;
    let attrs = cx.attrs(op("scan")?, &["body"])?;
    let total = cx.inputs.len();
    let scanned = cx.int("num_scan_inputs")?.and_then(|n| usize::try_from(n).ok()).filter(|&n| n <= total);
    let scanned = scanned.ok_or_else(|| OpError::invalid("num_scan_inputs is missing, or more than the inputs"))?;
    let states = total - scanned;
    let axes = cx.ints("scan_input_axes")?.unwrap_or_default();
    let mut params = Vec::new();
    for i in 0..total {
        let ty = cx.ty(cx.input(i)?).clone();
        params.push(Some(match i.checked_sub(states) {
            None => ty,
            Some(k) => {
                let axis = axes.get(k).copied().unwrap_or(0);
                let rank = ty.rank() as i64;
                let at = if axis < 0 { axis + rank } else { axis };
                if !(0..rank).contains(&at) {
                    return Err(OpError::invalid(format!(
                        "axis {axis} of scanned input {k} is out of range for rank {rank}"
                    )));
                }
                let mut dims = ty.dims.to_vec();
                dims.remove(at as usize);
                ty.with_dims(dims)
            }
        }));
    }
    let pairs: Vec<(usize, usize)> = (0..states).map(|i| (i, i)).collect();
    let region = settled(cx.imp, &g, &params, &pairs)?;
    cx.finish_with(op("scan")?, cx.inputs.clone(), attrs, g.output.len(), vec![region])
}
