//! The schemes that a site may get.

use mnnc_ir::Graph;

use crate::weight::methods::by_rows;
use crate::weight::{Entry, Kind, Method, Options, Policy, Rows, ScaleType, Scheme, Site, sites};

/// What may be chosen.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Axes {
    /// Whether bits may be fewer than 8.
    pub bits: bool,
    /// Whether weights may share scales in blocks.
    pub blocks: bool,
    /// How integers are chosen.
    pub method: Method,
}

impl Default for Axes {
    fn default() -> Axes {
        Axes { bits: true, blocks: true, method: Method::default() }
    }
}

/// The schemes of one site, from the most bytes to the fewest; none has more bytes and more noise than another.
#[derive(Clone, Debug)]
pub struct Ladder {
    /// The site.
    pub site: Site,
    /// The schemes.
    pub steps: Vec<Step>,
}

/// One scheme of a site.
#[derive(Clone, Debug)]
pub struct Step {
    /// The scheme.
    pub scheme: Scheme,
    /// Bytes of the site.
    pub bytes: u64,
    /// Power of the weights' error relative to their own.
    pub noise: f64,
}

impl Step {
    /// Bits of a weight, 32 where it stays as it is.
    pub fn bits(&self) -> u8 {
        if self.scheme.bits == 0 { 32 } else { self.scheme.bits }
    }
}

/// Bits below 8 with the block that goes with them: fewer bits need finer scales.
const FEW: [(u8, usize); 6] = [(6, 0), (5, 128), (4, 128), (4, 64), (4, 32), (3, 32)];

/// The ladder of every site that can be compressed, in order of execution.
pub fn ladders(g: &Graph, axes: Axes) -> Vec<Ladder> {
    sites(g).into_iter().map(|site| ladder(g, site, axes)).collect()
}

fn ladder(g: &Graph, site: Site, axes: Axes) -> Ladder {
    let usual = Options { method: axes.method, ..Options::bits(8) };
    let mut schemes = vec![Scheme::FLOAT];
    if usual.scheme(&site) != Scheme::FLOAT {
        schemes.extend([Scheme::HALF, usual.scheme(&site)]);
        // A depthwise row holds one channel: it has nothing to share scales among, and little to save.
        let few = if axes.bits { &FEW[..] } else { &[] };
        schemes.extend(few.iter().filter_map(|&(bits, block)| {
            let block = if axes.blocks && site.kind != Kind::Depthwise { block } else { 0 };
            let options = Options { bits, block, force: true, ..usual.clone() };
            let scheme = options.scheme(&site);
            (block == 0 || scheme.block == block || !axes.blocks).then_some(scheme)
        }));
        if !axes.bits && axes.blocks {
            schemes.extend([128, 64, 32].map(|block| usual.clone().block(block).scheme(&site)));
        }
    }
    let mut steps: Vec<Step> = Vec::new();
    for scheme in schemes {
        if !steps.iter().any(|s| s.scheme == scheme) {
            let noise = noise(g, &site, &scheme);
            steps.push(Step { bytes: scheme.bytes(&site), noise, scheme });
        }
    }
    Ladder { site, steps: undominated(steps) }
}

/// Those that are not beaten in both bytes and noise, most bytes first.
fn undominated(mut steps: Vec<Step>) -> Vec<Step> {
    steps.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(a.noise.total_cmp(&b.noise)));
    let mut kept: Vec<Step> = Vec::new();
    for step in steps {
        if kept.last().is_none_or(|k| step.noise < k.noise) {
            kept.push(step);
        }
    }
    kept.reverse();
    kept
}

/// Power of the error that a scheme makes in the weights, relative to theirs.
fn noise(g: &Graph, site: &Site, scheme: &Scheme) -> f64 {
    let Some(weights) = g.constant(site.weight) else { return 0.0 };
    let power = |w: &mut dyn Iterator<Item = f64>| w.map(|x| x * x).sum::<f64>();
    let exact = weights.view::<f32>();
    let signal = power(&mut exact.iter().map(|&x| f64::from(x))).max(f64::MIN_POSITIVE);
    match scheme.bits {
        0 => 0.0,
        16 => power(&mut exact.iter().map(|&x| f64::from(x - half::f16::from_f32(x).to_f32()))) / signal,
        _ => {
            let scheme = Scheme { scales: ScaleType::Fp32, ..scheme.clone() };
            let rows = Rows::of(site, weights, scheme.block);
            let got = by_rows(&rows, &scheme).values();
            power(&mut rows.values.iter().zip(&got).map(|(&a, &b)| f64::from(a - b))) / signal
        }
    }
}

/// The policy that takes of every ladder the step with this index.
pub(super) fn policy(ladders: &[Ladder], chosen: &[usize]) -> Policy {
    let entry = |(l, &i): (&Ladder, &usize)| Entry::new(&l.site, l.steps[i].scheme.clone());
    Policy { ops: ladders.iter().zip(chosen).map(entry).collect() }
}
