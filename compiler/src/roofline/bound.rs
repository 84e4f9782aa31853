//! The least time that a step of a schedule can take.
//!
//! A step must at least do its operations and move the bytes of its operands once. Where a byte comes from follows from how many
//! bytes other steps have touched since it was last touched (its reuse distance): the nearest level of memory that holds as
//! many; bandwidth is measured over blocks of about that size. Inference runs again and again, so the history of the first steps is the end of the run before; weights in
//! particular come from the level that holds everything that a run touches.
//!
//! An operand states which bytes a step *may* touch. Two kinds of step touch far fewer, and are charged for those: a zero border,
//! and the strips that a node is worked off in (steps with the same node and kernel), each of which is taken to touch its share
//! of what all of them touch.
//!
//! What the model leaves out makes a bound lower, never higher: writes cost what reads do, bytes that a kernel reads several
//! times (a tile's operands, from L1) are counted once, and so is everything that a step's own blocking must bring in again.

use std::collections::{BTreeMap, HashMap};

use mnnc_kernel::{Base, KernelCode, Plan, Schedule, Step};

use super::Memory;

/// The bytes that a step touches, by how long ago they were touched before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Pairs of bytes and reuse distance, also in bytes.
    pub parts: Vec<(u64, u64)>,
}

/// What keeps a step from being faster.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Limit {
    /// The multiply-add pipes.
    Compute,
    /// A level of memory: most of the time goes into its bytes.
    Memory(&'static str),
}

/// The least time of a step.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Bound {
    /// In seconds.
    pub seconds: f64,
    /// What sets it.
    pub limit: Limit,
}

impl Limit {
    /// Name, as in tables.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Compute => "compute",
            Limit::Memory(level) => level,
        }
    }
}

impl Traffic {
    /// Bytes that the step touches.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.0).sum()
    }

    /// The traffic of every step of a schedule that runs again and again, with `between` bytes of other data touched
    /// from one run to the next.
    pub fn of(schedule: &Schedule, plan: &Plan, between: usize) -> Vec<Traffic> {
        let extents = extents(schedule, plan);
        let mut history = History::default();
        // The first run only fills the history.
        history.run(&extents);
        history.total += between as u64;
        history.run(&extents)
    }

    /// The least time of a step with this traffic that does `flops` operations on a core with this peak.
    pub fn bound(&self, flops: u64, gflops: f64, memory: &[Memory]) -> Bound {
        let mut levels = vec![0.0; memory.len()];
        for &(bytes, distance) in &self.parts {
            let holds = |m: &Memory| m.holds.is_none_or(|holds| holds >= distance);
            if let Some(level) = memory.iter().position(holds) {
                levels[level] += bytes as f64 / (memory[level].gbytes * 1e9);
            }
        }
        let compute = flops as f64 / (gflops * 1e9);
        let moving: f64 = levels.iter().sum();
        if compute >= moving {
            return Bound { seconds: compute, limit: Limit::Compute };
        }
        let slowest = (0..levels.len()).max_by(|&a, &b| levels[a].total_cmp(&levels[b])).unwrap_or(0);
        Bound { seconds: moving, limit: Limit::Memory(memory[slowest].name) }
    }
}

/// A range of memory: base, begin, end.
type Extent = (Base, usize, usize);

/// An operand that steps with the same node and kernel share.
struct Strips {
    number: usize,
    /// The least and the greatest offset.
    first: usize,
    last: usize,
    /// Where the last of them ends.
    end: usize,
    /// Strips that were given their share.
    seen: usize,
}

/// For each step the bytes that it touches.
fn extents(schedule: &Schedule, plan: &Plan) -> Vec<Vec<Extent>> {
    let key = |step: &Step, i: usize| (step.name.clone(), step.kernel, i, step.operands[i].buffer);
    let mut strips: HashMap<_, Strips> = HashMap::new();
    for step in &schedule.steps {
        for (i, o) in step.operands.iter().enumerate() {
            let new = Strips { number: 0, first: o.offset, last: o.offset, end: 0, seen: 0 };
            let s = strips.entry(key(step, i)).or_insert(new);
            s.number += 1;
            s.first = s.first.min(o.offset);
            s.last = s.last.max(o.offset);
            s.end = s.end.max(o.offset + o.bytes);
        }
    }
    let mut extents = Vec::with_capacity(schedule.steps.len());
    for step in &schedule.steps {
        let mut touched = Vec::with_capacity(step.operands.len());
        for (i, o) in step.operands.iter().enumerate() {
            let (mut begin, mut end) = (o.offset, o.offset + o.bytes);
            // Scratch memory and weights are the same for every strip: they do not move.
            if let Some(s) = strips.get_mut(&key(step, i)).filter(|s| s.first < s.last) {
                let share = |k: usize| s.first + (s.end - s.first) / s.number * k;
                (begin, end) = (share(s.seen), share(s.seen + 1));
                s.seen += 1;
            }
            if let KernelCode::Border(storage) = &schedule.kernels[step.kernel].code {
                let inner = storage.dims.iter().product::<usize>() * storage.dtype.size();
                end = end.min(begin + storage.bytes.saturating_sub(inner));
            }
            if begin < end {
                let at = plan.address(schedule, o.buffer, begin);
                touched.push((at.base, at.offset, at.offset + (end - begin)));
            }
        }
        extents.push(touched);
    }
    extents
}

/// When each byte was last touched.
#[derive(Default)]
struct History {
    /// Pieces of memory by their beginning: end, step.
    pieces: BTreeMap<(Base, usize), (usize, usize)>,
    /// Bytes touched before each step, the present one last.
    before: Vec<u64>,
    total: u64,
}

impl History {
    /// The traffic of steps that touch these ranges, after what has happened so far.
    fn run(&mut self, steps: &[Vec<Extent>]) -> Vec<Traffic> {
        let step = |extents: &Vec<Extent>| {
            let mut traffic = Traffic::default();
            self.before.push(self.total);
            for &extent in extents {
                self.touch(extent, &mut traffic);
            }
            self.total += traffic.bytes();
            traffic
        };
        steps.iter().map(step).collect()
    }

    /// Notes that the present step touches these bytes, and adds them to its traffic unless it has touched them already.
    fn touch(&mut self, (base, begin, end): Extent, traffic: &mut Traffic) {
        let now = self.before.len() - 1;
        self.split(base, begin);
        self.split(base, end);
        let old: Vec<(usize, usize, usize)> =
            self.pieces.range((base, begin)..(base, end)).map(|(&(_, b), &(e, step))| (b, e, step)).collect();
        let mut known = 0;
        for &(b, e, step) in &old {
            self.pieces.remove(&(base, b));
            known += e - b;
            if step != now {
                traffic.parts.push(((e - b) as u64, self.total - self.before[step]));
            }
        }
        let new = (end - begin) - known;
        if new > 0 {
            traffic.parts.push((new as u64, u64::MAX));
        }
        self.pieces.insert((base, begin), (end, now));
    }

    /// Makes a piece end at `at`, if one reaches over it.
    fn split(&mut self, base: Base, at: usize) {
        let below = self.pieces.range((base, 0)..(base, at)).next_back().map(|(&(_, b), &piece)| (b, piece));
        if let Some((begin, (end, step))) = below
            && end > at
        {
            self.pieces.insert((base, begin), (at, step));
            self.pieces.insert((base, at), (end, step));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mnnc_ir::DType;
    use mnnc_kernel::schedule::{Buffer, BufferKind, Subnormals};
    use mnnc_kernel::{Access, Halo, Kernel, Operand, Plan, Schedule, Step, Storage};

    use super::{Base, Bound, History, KernelCode, Limit, Memory, Traffic};

    fn memory() -> Vec<Memory> {
        let level = |name, holds, gbytes| Memory { name, holds, gbytes, block: 0 };
        vec![level("L1", Some(100), 100.0), level("L2", Some(1000), 10.0), level("DRAM", None, 1.0)]
    }

    /// Two runs of steps that each touch some ranges of the workspace; the traffic of the second.
    fn traffic(steps: &[&[(usize, usize)]]) -> Vec<Traffic> {
        let extent = |&(begin, end): &(usize, usize)| (Base::Workspace, begin, end);
        let extents: Vec<Vec<_>> = steps.iter().map(|step| step.iter().map(extent).collect()).collect();
        let mut history = History::default();
        history.run(&extents);
        history.run(&extents)
    }

    #[test]
    fn distance_is_what_was_touched_since() {
        let all = traffic(&[&[(0, 10)], &[(100, 400)], &[(0, 10), (400, 405)]]);
        assert_eq!(all[0].parts, [(10, 15)], "last touched by the last step of the run before");
        assert_eq!(all[1].parts, [(300, 325)], "a whole run ago");
        assert_eq!(all[2].parts, [(10, 310), (5, 325)]);
    }

    #[test]
    fn parts_of_a_range_have_their_own_past() {
        let all = traffic(&[&[(0, 100)], &[(50, 60)], &[(0, 100)]]);
        let mut parts = all[2].parts.clone();
        parts.sort_unstable();
        assert_eq!(parts, [(10, 10), (40, 110), (50, 110)]);
    }

    #[test]
    fn strips_share_what_they_move_over_and_borders_are_thin() {
        let halo = Halo { top: 1, left: 1, bottom: 1, right: 1, fill: 0 };
        let storage = Storage::blocked(DType::F32, &[1, 16, 2, 2], 16, halo).unwrap();
        assert_eq!(storage.bytes, 1024);
        let mut schedule = Schedule::default();
        let mut buffer = |bytes| schedule.buffers.push(Buffer { name: "x".into(), bytes, kind: BufferKind::Temp });
        let (blocked, scratch) = (buffer(1024), buffer(100));
        let code = KernelCode::Border(Arc::new(storage));
        let border = schedule.kernels.push(Kernel { name: "border".into(), code });
        let plan = Plan::new(&schedule);
        let operand = |buffer, offset, bytes| Operand { buffer, offset, bytes, access: Access::Write };
        let step = |kernel, operands| Step {
            name: "n".into(),
            node: None,
            kernel,
            operands,
            units: 1,
            flops: 0,
            subnormals: Subnormals::Any,
            part: None,
        };
        schedule.steps.push(step(border, vec![operand(blocked, 0, 1024)]));
        let touched = |schedule: &Schedule| -> Vec<Vec<(usize, usize)>> {
            let all = super::extents(schedule, &plan);
            all.into_iter().map(|step| step.into_iter().map(|(_, begin, end)| (begin, end)).collect()).collect()
        };
        // All but the four pixels of the middle.
        assert_eq!(touched(&schedule), [[(0, 1024 - 4 * 64)]]);

        // A border so wide that it leaves operands as they are.
        let wide = Storage { bytes: 1 << 20, ..Storage::plain(DType::F32, &[1]).unwrap() };
        let strip = KernelCode::Border(Arc::new(wide));
        let strip = schedule.kernels.push(Kernel { name: "strip".into(), code: strip });
        schedule.steps.clear();
        for row in 0..2 {
            let operands = vec![operand(blocked, row * 400, 1024 - row * 400), operand(scratch, 0, 100)];
            schedule.steps.push(step(strip, operands));
        }
        let found = touched(&schedule);
        assert_eq!((found[0][0], found[1][0]), ((0, 512), (512, 1024)));
        assert_eq!(found[0][1], found[1][1], "scratch memory does not move");
    }

    #[test]
    fn a_step_is_charged_once_for_what_it_touches_twice() {
        assert_eq!(traffic(&[&[(0, 10), (5, 15)]])[0].bytes(), 15);
    }

    #[test]
    fn the_bound_is_the_larger_of_the_two() {
        let traffic = Traffic { parts: vec![(1000, 50), (100, 500), (10, 5000)] };
        // 10 ns from L1, 10 ns from L2, 10 ns from main memory.
        let bound = traffic.bound(10, 1.0, &memory());
        assert!((bound.seconds - 30e-9).abs() < 1e-15, "{bound:?}");
        assert!(matches!(bound.limit, Limit::Memory(_)));
        assert_eq!(traffic.bound(100, 1.0, &memory()), Bound { seconds: 100e-9, limit: Limit::Compute });
        let far = Traffic { parts: vec![(10, u64::MAX)] };
        assert_eq!(far.bound(0, 1.0, &memory()).limit, Limit::Memory("DRAM"));
    }
}
