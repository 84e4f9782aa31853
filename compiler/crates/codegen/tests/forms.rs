//! Values in blocks with borders, concatenations and cuts in place, fused nodes: random networks through families that
//! force every form, against the reference evaluator. The families compute by plain loops that *rely* on zero borders, so
//! that nothing but the lowering is under test.

use crate::support::deviation;
use crate::support::network::floats;
use mnnc_codegen::{Jit, Model, Options, Pool, Target};
use mnnc_ir::compute::{Combine, Reduction, Stage};
use mnnc_ir::scalar::{ScalarBuilder, Source};
use mnnc_ir::{Attrs, DType, Graph, NodeSpec, OpError, Tensor, TensorType, ValueId};
use mnnc_kernel::{Family, Forms, Halo, LoopKernel, Lowering, View, Wish};
use mnnc_ops::Evaluator;
use mnnc_vector::Features;

/// Convolutions of stride 1 without a guard: the halo has to be there, and zero.
struct Unguarded {
    forms: Forms,
    blocked_input: bool,
}

static BLOCKED: Unguarded = Unguarded { forms: Forms::BLOCKED, blocked_input: true };
static EITHER: Unguarded = Unguarded { forms: Forms::BOTH, blocked_input: true };

fn pads(view: &View) -> Vec<i64> {
    let attr = view.anchor.and_then(|a| a.attrs.get("pads"));
    match attr {
        Some(mnnc_ir::Attr::Ints(p)) => p.clone(),
        _ => vec![0; 4],
    }
}

impl Family for Unguarded {
    fn name(&self) -> &'static str {
        "unguarded"
    }
    fn take(&self, view: &View, _: &mnnc_vector::Target) -> Option<Vec<(ValueId, Wish)>> {
        let ok = view.anchor.is_some_and(|a| a.op.name == "conv") && view.epilogue.is_none() && self.blocked_input;
        let p: Vec<usize> = pads(view).iter().map(|&p| p as usize).collect();
        let halo = Halo { top: p[0], left: p[1], bottom: p[2], right: p[3], fill: 0 };
        ok.then(|| vec![(view.inputs[0].unwrap(), Wish::Blocked(halo)), (view.inputs[1].unwrap(), Wish::Plain)])
    }
    fn lower(&self, view: &View, lo: &mut Lowering) -> Result<(), OpError> {
        let p = pads(view);
        let halo =
            Halo { top: p[0] as usize, left: p[1] as usize, bottom: p[2] as usize, right: p[3] as usize, fill: 0 };
        let x = lo.input(view.inputs[0].unwrap(), Wish::Blocked(halo))?;
        let w = lo.input(view.inputs[1].unwrap(), Wish::Plain)?;
        let y = lo.output(view.outputs[0], self.forms)?;
        assert!(x.storage.block.is_some() && x.storage.halo.covers(halo) && w.storage.is_plain());
        let mut b = ScalarBuilder::new();
        let a: Vec<_> = (0..7).map(|i| b.axis(i)).collect();
        let (top, left) = (b.int(p[0]), b.int(p[1]));
        let (h, v) = (b.add(a[2], a[5]), b.add(a[3], a[6]));
        let (h, v) = (b.sub(h, top), b.sub(v, left));
        let e = b.load(Source::Input(0), vec![a[0], a[4], h, v], DType::F32);
        let f = b.load(Source::Input(1), vec![a[1], a[4], a[5], a[6]], DType::F32);
        let body = b.mul(e, f);
        let stage = Stage {
            dims: y.storage.dims.clone(),
            dtype: DType::F32,
            reduce: Some(Reduction { dims: w.storage.dims[1..].to_vec(), combine: Combine::Sum, init: 0.0 }),
            body: b.finish(body),
        };
        let units = stage.dims[0] * stage.dims[1];
        let k = LoopKernel {
            stage,
            inputs: vec![x.storage.clone(), w.storage.clone()],
            output: y.storage.clone(),
            unit_dims: 2,
        };
        let id = lo.loop_kernel("unguarded", k);
        lo.step(id, vec![x.read(), w.read(), y.write()], units, 0);
        Ok(())
    }
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

const SIZE: usize = 6;

fn channels(g: &Graph, v: ValueId) -> usize {
    g.ty(v).static_dims().unwrap()[1]
}

/// A random network over values `[1, C, 6, 6]`, with some odd shapes among its outputs.
fn random_network(seed: u64) -> (Graph, Vec<Tensor>) {
    let op = |n: &str| mnnc_ops::lookup(n).unwrap_or_else(|| panic!("no op {n}"));
    let mut r = Rng(seed.wrapping_mul(31) + 7);
    let mut g = Graph::new("random");
    let c = [3, 8, 16, 32][r.below(4)];
    let x = g.add_input("x", TensorType::new(DType::F32, [1usize, c, SIZE, SIZE]));
    let feeds = vec![Tensor::new(vec![1, c, SIZE, SIZE], floats(c * SIZE * SIZE, seed as u32))];
    let mut values = vec![x];
    let mut results = Vec::new();
    for i in 0..4 + r.below(12) {
        let v = values[values.len() - 1 - r.below(values.len().min(3))];
        let cv = channels(&g, v);
        let axis = Attrs::new().with("axis", 1i64);
        let y = match r.below(9) {
            0..=2 => {
                let (pad, out) = (r.below(3), [5, 8, 16, 24, 32][r.below(5)]);
                let k = 2 * pad + 1;
                let n = out * cv * k * k;
                let scaled = floats(n, i as u32).iter().map(|w| w / ((cv * k * k) as f32).sqrt()).collect::<Vec<f32>>();
                let w = g.add_const("w", Tensor::new(vec![out, cv, k, k], scaled));
                let attrs = Attrs::new().with("pads", vec![pad as i64; 4]);
                g.emit(NodeSpec::new(op("conv"), [v, w]).attrs(attrs))
            }
            3 => g.emit(NodeSpec::new(op("relu"), [v])),
            4 => {
                let same: Vec<ValueId> = values.iter().copied().filter(|&u| channels(&g, u) == cv).collect();
                let other = same[r.below(same.len())];
                g.emit(NodeSpec::new(op("add"), [v, other]))
            }
            5 => {
                let other = values[r.below(values.len())];
                let mut parts = vec![v, other];
                if r.below(3) == 0 {
                    parts.push(values[r.below(values.len())]);
                }
                g.emit(NodeSpec::new(op("concat"), parts).attrs(axis))
            }
            6 if cv >= 2 => {
                let at = [8, 16, cv / 2][r.below(3)].min(cv - 1).max(1);
                let sizes = g.add_const("sizes", Tensor::ints(&[at as i64, (cv - at) as i64]));
                let spec = NodeSpec::new(op("split"), [v, sizes]).attrs(axis).outputs(["", ""]);
                g.add_node(spec).map(|n| {
                    let outs = g.node(n).outputs().to_vec();
                    values.push(outs[0]);
                    outs[1]
                })
            }
            7 => {
                // There and back again by views.
                let flat = g.add_const("flat", Tensor::ints(&[1, (cv * SIZE * SIZE) as i64]));
                let back = g.add_const("back", Tensor::ints(&[1, cv as i64, SIZE as i64, SIZE as i64]));
                let f = g.emit(NodeSpec::new(op("reshape"), [v, flat])).unwrap();
                if r.below(2) == 0 {
                    results.push(f);
                }
                g.emit(NodeSpec::new(op("reshape"), [f, back]))
            }
            _ => fused(&mut g, &mut r, v),
        };
        values.push(y.unwrap());
    }
    let last = values[values.len() - 1];
    results.push(last);
    for _ in 0..r.below(3) {
        results.push(values[r.below(values.len())]);
    }
    g.set_results(g.main(), results);
    (g, feeds)
}

/// A depthwise convolution with an element-wise chain behind it: what families do not take goes through the generic path.
fn fused(g: &mut Graph, r: &mut Rng, v: ValueId) -> Result<ValueId, OpError> {
    let op = |n: &str| mnnc_ops::lookup(n).unwrap_or_else(|| panic!("no op {n}"));
    let c = channels(g, v);
    let w = g.add_const("dw", Tensor::new(vec![c, 1, 3, 3], floats(c * 9, 77)));
    let bias = g.add_const("bias", Tensor::new(vec![c, 1, 1], floats(c, 78)));
    let two = g.add_const("two", Tensor::scalar(2.0f32));
    let region = g.new_region();
    let with_anchor = r.below(2) == 0;
    let p = g.add_param(region, "p", g.ty(v).clone());
    let q = g.add_param(region, "q", g.ty(bias).clone());
    let mut at = 0;
    let mut emit = |g: &mut Graph, spec: NodeSpec| {
        let n = g.insert_node(region, at, spec)?;
        at += 1;
        Ok::<_, OpError>(g.node(n).outputs()[0])
    };
    let mut y = p;
    if with_anchor {
        let attrs = Attrs::new().with("pads", vec![1i64; 4]).with("group", c as i64);
        y = emit(g, NodeSpec::new(op("conv"), [p, w]).attrs(attrs))?;
    }
    y = emit(g, NodeSpec::new(op("mul"), [y, q]))?;
    y = emit(g, NodeSpec::new(op("max"), [y, p]))?;
    y = emit(g, NodeSpec::new(op("div"), [y, two]))?;
    g.set_results(region, vec![y]);
    g.emit(NodeSpec::new(op("fused"), [v, bias]).regions([region]))
}

#[test]
fn random_networks_in_every_form() {
    // The last are the real ones: with them nothing is known of how many borders and copies there will be.
    let families: [&[&'static dyn Family]; 4] = [&[], &[&BLOCKED], &[&EITHER], mnnc_kernel::families::ALL];
    compare(&Target::host(), &families);
}

/// The tuned kernels of every instruction set that this machine has.
#[test]
#[cfg(target_arch = "x86_64")]
fn random_networks_on_older_machines() {
    let target = Target::parse(None, Some("v3")).unwrap();
    if !target.runs_here() {
        eprintln!("skipped: no AVX2");
        return;
    }
    compare(&target, &[mnnc_kernel::families::ALL, &[&BLOCKED], &[&EITHER]]);
}

fn compare(target: &Target, families: &[&[&'static dyn Family]]) {
    let (mut in_place, mut borders, mut repacks) = (0, 0, 0);
    for seed in 0..120 {
        let (g, feeds) = random_network(seed);
        let want = Evaluator::new(&g).run(&feeds).unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
        for (f, families) in families.iter().enumerate() {
            let model = Model::compile(&g, target, families, &Options::default());
            let model = model.unwrap_or_else(|e| panic!("seed {seed} families {f}: {e}"));
            let schedule = &model.variants[0].schedule;
            in_place += schedule
                .buffers
                .iter()
                .filter(|(_, b)| matches!(b.kind, mnnc_kernel::schedule::BufferKind::Within(..)))
                .count();
            borders += schedule.steps.iter().filter(|s| s.name.ends_with(".border")).count();
            repacks += schedule.steps.iter().filter(|s| s.name.ends_with(".repack")).count();
            let jit = Jit::new(model).unwrap();
            let mut workspace = jit.workspace();
            // What the workspace holds before must not matter: NaN shows wherever it is read.
            workspace.fill(0xff);
            for round in 0..2 {
                let got = jit.run_in(&mut workspace, &feeds).unwrap();
                for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                    let d = deviation(got, want).unwrap_or_else(|e| panic!("seed {seed} families {f} output {i}: {e}"));
                    assert!(d <= 1.0, "seed {seed} families {f} output {i} round {round}: off by {d} tolerances");
                }
            }
        }
    }
    assert!(
        in_place > 100 && borders > 100 && repacks > 100,
        "{in_place} in place, {borders} borders, {repacks} repacks"
    );
}

#[test]
fn steps_can_be_timed_one_by_one() {
    let (g, feeds) = random_network(3);
    let jit = Jit::new(Model::compile(&g, &Target::host(), &[&EITHER], &Options::default()).unwrap()).unwrap();
    let mut workspace = jit.workspace();
    let (got, times) = jit.run_timed(&mut workspace, &feeds).unwrap();
    assert_eq!(times.len(), jit.model().variants[0].schedule.steps.len());
    for (a, b) in got.iter().zip(jit.run(&feeds).unwrap()) {
        assert_eq!(a.bytes()[..], b.bytes()[..]);
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let target = Target::host();
    let mut pools: Vec<Pool> = [1, 2, 5].map(|n| Pool::new(n).unwrap()).into();
    for seed in 0..40 {
        let (g, feeds) = random_network(seed);
        let jit =
            Jit::new(Model::compile(&g, &target, mnnc_kernel::families::ALL, &Options::default()).unwrap()).unwrap();
        let want = jit.run(&feeds).unwrap();
        let mut workspace = jit.workspace();
        for pool in &mut pools {
            workspace.fill(0xff);
            let got = jit.run_parallel(&mut workspace, &feeds, pool).unwrap();
            for (a, b) in got.iter().zip(&want) {
                assert!(a.bytes()[..] == b.bytes()[..], "seed {seed} on {} threads", pool.threads());
            }
        }
    }
}

/// Root of the mean square of the differences, as a share of that of the reference. NaN where only one side has it.
fn rms(got: &Tensor, want: &Tensor) -> f64 {
    let pairs = got.to_f64s().into_iter().zip(want.to_f64s());
    let (noise, signal) = pairs
        .filter(|(g, w)| g != w && !(g.is_nan() && w.is_nan()))
        .fold((0.0, 0.0), |(n, s), (g, w)| (n + (g - w) * (g - w), s + w * w));
    if noise == 0.0 { 0.0 } else { f64::sqrt(noise / signal) }
}

/// bf16 between the layers of random networks, with AMX and without: near the reference, and the same in every run, whatever the
/// workspace held before.
#[test]
fn reduced_networks_stay_near() {
    let host = Target::host();
    let with = |features: Features| Target { cpus: vec![host.cpus[0].without(features)], ..host.clone() };
    let targets = [with(Features::empty()), with(Features::AMX_BF16)];
    if !host.cpus[0].features.contains(Features::BF16) {
        eprintln!("skipped: this CPU has no bf16");
        return;
    }
    let (mut reduced, mut worst) = (0, 0.0f64);
    for seed in 0..120 {
        let (g, feeds) = random_network(seed);
        let want = Evaluator::new(&g).run(&feeds).unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
        for target in &targets {
            let options = Options { reduced: true, ..Options::default() };
            let model = Model::compile(&g, target, mnnc_kernel::families::ALL, &options).unwrap();
            reduced += usize::from(model.variants[0].schedule.kernels.iter().any(|(_, k)| k.name.contains("bf16_")));
            let jit = Jit::new(model).unwrap();
            let mut workspace = jit.workspace();
            workspace.fill(0xff);
            let first = jit.run_in(&mut workspace, &feeds).unwrap();
            let second = jit.run_in(&mut workspace, &feeds).unwrap();
            for (i, ((got, again), want)) in first.iter().zip(&second).zip(&want).enumerate() {
                let off = rms(got, want);
                assert!(off <= 0.05, "seed {seed} output {i}: off by {off} in the mean square");
                assert!(got.bytes()[..] == again.bytes()[..], "seed {seed} output {i} is not the same again");
                worst = worst.max(off);
            }
        }
    }
    assert!(reduced > 100 && worst > 1e-4, "{reduced} networks were reduced, off by {worst}");
}

/// Without being asked for, nothing is rounded, and the processor need not have bf16.
#[test]
fn precision_is_reduced_on_request_only() {
    let (g, _) = random_network(3);
    let target = Target::parse(Some("x86_64-linux"), Some("sapphirerapids")).unwrap();
    let model = Model::compile(&g, &target, mnnc_kernel::families::ALL, &Options::default()).unwrap();
    assert!(!model.target.cpus[0].features.intersects(Features::BF16 | Features::AMX_BF16));
    let options = Options { reduced: true, ..Options::default() };
    let model = Model::compile(&g, &target, mnnc_kernel::families::ALL, &options).unwrap();
    assert!(model.target.cpus[0].features.contains(Features::BF16 | Features::AMX_BF16));
    let exact = Options { exact: g.schedule().to_vec(), ..options };
    let model = Model::compile(&g, &target, mnnc_kernel::families::ALL, &exact).unwrap();
    assert!(model.variants[0].schedule.kernels.iter().all(|(_, k)| !k.name.contains("bf16_")));
}
