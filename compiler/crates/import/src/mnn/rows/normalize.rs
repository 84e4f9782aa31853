//! Normalisations.

use crate::mnn::op::{OpCx, Rows, lacks};
use crate::mnn::table::{Row, row};
use crate::mnn::tensor::over;
use mnnc_ir::{Attrs, DType, OpError, Tensor, ValueId};
use mnnc_schema::mnn::{LayerNorm, OpType};

pub(super) static ROWS: &[Row] =
    &[row(OpType::LayerNorm, layer_norm), row(OpType::BatchNorm, batch_norm), row(OpType::LRN, lrn)];

/// Gamma and beta: both or neither, as the loader has it; RMS norms have gamma alone.
fn parameters(cx: &mut OpCx, p: &LayerNorm, dims: &[usize]) -> Result<Option<(Tensor, Option<Tensor>)>, OpError> {
    let external: Vec<i64> = p.external().into_iter().flatten().collect();
    if let [offset, gamma, beta, ..] = external.as_slice() {
        let beta_at = offset.checked_add(*gamma).ok_or_else(|| OpError::invalid("external sizes overflow"))?;
        let gamma = over(DType::F32, dims, cx.imp.external(*offset, *gamma)?, "gamma")?;
        let beta = over(DType::F32, dims, cx.imp.external(beta_at, *beta)?, "beta")?;
        return Ok(Some((gamma, Some(beta))));
    }
    let gamma = cx.imp.floats(p.gamma(), dims, "gamma")?;
    let beta = cx.imp.floats(p.beta(), dims, "beta")?;
    Ok(match (gamma, beta) {
        (Some(gamma), Some(beta)) => Some((gamma, Some(beta))),
        _ => None,
    })
}

fn layer_norm(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_layer_norm().ok_or_else(|| lacks("LayerNorm"))?;
    let mut x = cx.input(0)?;
    let mut out = Vec::new();
    if cx.num_inputs() > 1 {
        // The sum with a residual is a result of its own, in front.
        let residual = cx.input(1)?;
        x = cx.emit("add", &[x, residual], Attrs::new())?;
        if cx.num_outputs() > 1 {
            out.push(x);
        }
    }
    let rank = cx.rank(x);
    let group = p.group();
    let from = cx.ty(x).dims.clone();
    let normalised = p.axis().map_or(0, |axes| axes.len());
    if normalised > rank {
        return Err(OpError::invalid(format!("{normalised} dims are normalised of a tensor of rank {rank}")));
    }
    if group > 1 {
        out.push(group_norm(cx, &p, x)?);
        return Ok(out);
    }
    // Only their number counts: the last ones are meant.
    let inner = &from[rank - normalised.max(1).min(rank)..];
    let dims: Option<Vec<usize>> = inner.iter().map(|d| d.known().and_then(|d| usize::try_from(d).ok())).collect();
    let dims = dims.ok_or_else(|| {
        OpError::unsupported("the normalised extent is open; fix shapes with --shape NAME=1x3x224x224")
    })?;
    let volume = crate::mnn::tensor::volume(&dims)?;
    cx.imp.build.within_limits(&mnnc_ir::TensorType::new(DType::F32, dims.iter().copied()))?;
    let given = p.gamma().map_or(0, |g| g.len());
    let gamma_dims = if given == volume || p.external().is_some() { dims.clone() } else { vec![given] };
    let attrs = Attrs::new().with("axis", -(dims.len() as i64)).with("epsilon", p.epsilon());
    let parameters = parameters(cx, &p, &gamma_dims)?;
    let (gamma, beta) = match parameters {
        Some((gamma, beta)) => (cx.constant(gamma), beta.map(|b| cx.constant(b))),
        None => {
            cx.imp.spend(volume as u64)?;
            (cx.constant(Tensor::new(dims.clone(), vec![1f32; volume])), None)
        }
    };
    let beta = beta.filter(|_| !p.use_rmsnorm());
    let op = if p.use_rmsnorm() { "rms_normalization" } else { "layer_normalization" };
    let inputs: Vec<ValueId> = [Some(x), Some(gamma), beta].into_iter().flatten().collect();
    out.push(cx.emit(op, &inputs, attrs)?);
    Ok(out)
}

/// One mean and deviation for each group of channels, then gamma and beta for each channel.
fn group_norm(cx: &mut OpCx, p: &LayerNorm, x: ValueId) -> Result<ValueId, OpError> {
    let channels = cx.ty(x).dims.get(1).and_then(|d| d.known()).and_then(|c| usize::try_from(c).ok());
    let channels = channels.ok_or_else(|| OpError::unsupported("group normalisation of an open number of channels"))?;
    cx.imp.spend(channels as u64)?;
    let (gamma, beta) = match parameters(cx, p, &[channels])? {
        Some((gamma, Some(beta))) => (gamma, beta),
        _ => (Tensor::new(vec![channels], vec![1f32; channels]), Tensor::new(vec![channels], vec![0f32; channels])),
    };
    let (gamma, beta) = (cx.constant(gamma), cx.constant(beta));
    let attrs = Attrs::new().with("num_groups", i64::from(p.group())).with("epsilon", p.epsilon());
    cx.emit("group_normalization", &[x, gamma, beta], attrs)
}

fn batch_norm(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_batch_norm().ok_or_else(|| lacks("BatchNorm"))?;
    let x = cx.image(0)?;
    let channels = usize::try_from(p.channels()).unwrap_or(0);
    let mut inputs = vec![x];
    for (v, what) in [
        (p.slope_data(), "slopeData"),
        (p.bias_data(), "biasData"),
        (p.mean_data(), "meanData"),
        (p.var_data(), "varData"),
    ] {
        let t = cx.imp.floats(v, &[channels], what)?.ok_or_else(|| lacks(what))?;
        inputs.push(cx.constant(t));
    }
    let y = cx.emit("batch_normalization", &inputs, Attrs::new().with("epsilon", p.epsilon()))?;
    Ok(vec![cx.image_out(y)?])
}

fn lrn(cx: &mut OpCx) -> Rows {
    let p = cx.op.main_as_lrn().ok_or_else(|| lacks("LRN"))?;
    if p.region_type() != 0 {
        return Err(OpError::unsupported("normalisation within a channel is not supported"));
    }
    let x = cx.image(0)?;
    let attrs = Attrs::new()
        .with("size", i64::from(p.local_size()))
        .with("alpha", p.alpha())
        .with("beta", p.beta())
        .with("bias", p.bias());
    let y = cx.emit("lrn", &[x], attrs)?;
    Ok(vec![cx.image_out(y)?])
}
