//! Constants that are no layer's weights, such as tables of embeddings, in half precision.

use half::f16;
use mnnc_ir::{Attrs, DType, Diagnostic, Graph, NodeId, NodeSpec, Tensor, ValueId};
use mnnc_ops::family::cast::CAST;

/// Smaller ones stay as they are.
const SMALLEST: usize = 256;

/// Puts large `f32` constants of the main region behind a cast from `f16`; how many. Vectors stay, for biases are worth more than the room they
/// take; so does what half precision cannot hold.
///
/// # Errors
/// A mistake of the compiler.
pub fn halve_constants(g: &mut Graph) -> Result<usize, Diagnostic> {
    let mut found: Vec<(ValueId, NodeId)> = Vec::new();
    for &n in g.schedule() {
        for &v in g.node(n).inputs().iter().flatten() {
            if found.iter().all(|&(other, _)| other != v) && g.constant(v).is_some_and(is_large) {
                found.push((v, n));
            }
        }
    }
    let mut halved = 0;
    for (v, first) in found {
        let Some(halves) = g.constant(v).and_then(halves) else { continue };
        let name = g.value(v).name.clone();
        let stored = g.add_const(&format!("{name}.f16"), halves);
        let spec = NodeSpec::new(&CAST, [stored])
            .attrs(Attrs::new().with("to", DType::F32))
            .outputs([format!("{name}.widened")]);
        let at = g.position(first).ok_or_else(|| Diagnostic::internal("a reader that is nowhere"))?;
        let cast = g.insert_node(g.main(), at, spec).map_err(|e| Diagnostic::internal(e.message).node(&name))?;
        let widened = g.node(cast).outputs()[0];
        let main = g.main();
        let readers: Vec<NodeId> =
            g.value(v).users().iter().copied().filter(|&n| g.node(n).region() == Some(main)).collect();
        g.replace_uses_if(v, widened, |n| readers.contains(&n));
        halved += 1;
    }
    Ok(halved)
}

fn is_large(t: &Tensor) -> bool {
    t.dtype() == DType::F32 && t.len() >= SMALLEST && t.dims().iter().filter(|&&d| d > 1).count() >= 2
}

fn halves(t: &Tensor) -> Option<Tensor> {
    let halves: Vec<f16> = t.view::<f32>().iter().map(|&x| f16::from_f32(x)).collect();
    let fits = t.view::<f32>().iter().zip(&halves).all(|(x, h)| x.is_finite() == h.is_finite());
    fits.then(|| Tensor::new(t.dims(), halves))
}
