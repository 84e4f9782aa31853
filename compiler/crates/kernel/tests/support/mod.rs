//! Runs schedules without code generation proper: machine kernels in executable memory, loop kernels interpreted. Buffers do
//! not share memory, so that a family's mistake cannot hide behind the plan's.

pub mod bytes;

use mnnc_ir::entity::EntityId;
use mnnc_ir::scalar::{Binary, Cmp, Expr, ScalarFn, ScalarNode, Source, Unary};
use mnnc_ir::{DType, Tensor};
use mnnc_kernel::program::{Arg, Base, Program, Run};
use mnnc_kernel::schedule::{BufferId, BufferKind, KernelId};
use mnnc_kernel::{KernelCode, LoopKernel, Schedule, Storage};
use mnnc_vector::{CompiledKernel, Features, Isa, Target};

/// The x64 targets that this CPU can run; says which it cannot.
pub fn native_targets() -> Vec<Target> {
    let mut have = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let avx512 = ["f", "bw", "dq", "vl"].len() == 4
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        for (t, ok) in [(Target::AVX512, avx512), (Target::AVX2, avx2)] {
            if ok { have.push(t) } else { eprintln!("skipped: this CPU has no {t}") }
        }
    }
    if have.is_empty() {
        eprintln!("skipped: no vector target of this CPU");
    }
    debug_assert!(have.iter().all(|t| t.isa != Isa::A64Neon));
    have
}

/// The targets of this CPU without and with products of bytes.
pub fn byte_targets() -> Vec<Target> {
    let mut have = native_targets();
    #[cfg(target_arch = "x86_64")]
    {
        let dot = [
            (Target::AVX512, is_x86_feature_detected!("avx512vnni")),
            (Target::AVX2, is_x86_feature_detected!("avxvnni")),
        ];
        for (t, _) in dot.into_iter().filter(|(t, dot)| *dot && have.contains(t)).collect::<Vec<_>>() {
            have.push(Target { features: Features::VNNI, ..t });
        }
        let tables = Target { features: Features::VNNI | Features::VBMI, ..Target::AVX512 };
        if have.contains(&Target { features: Features::VNNI, ..Target::AVX512 })
            && is_x86_feature_detected!("avx512vbmi")
        {
            have.push(tables);
        } else {
            eprintln!("skipped: no VBMI");
        }
        // Leaf 7: AMX-TILE and AMX-INT8 are bits 24 and 25 of edx.
        let vnni = Target { features: Features::VNNI, ..Target::AVX512 };
        if have.contains(&vnni) && has_tiles(24, 25) {
            have.push(Target { features: Features::VNNI | Features::AMX_INT8, ..Target::AVX512 });
        } else {
            eprintln!("skipped: no AMX for bytes");
        }
    }
    have
}

/// Whether these bits of leaf 7's edx are set, and the system grants the tiles' state.
#[cfg(target_arch = "x86_64")]
fn has_tiles(tile: u32, product: u32) -> bool {
    let edx = std::arch::x86_64::__cpuid_count(7, 0).edx;
    let there = edx >> tile & edx >> product & 1 == 1;
    // SAFETY: ARCH_REQ_XCOMP_PERM (0x1023) of component 18, tile data, only changes what this process may use.
    there && unsafe { libc::syscall(libc::SYS_arch_prctl, 0x1023, 18) } == 0
}

/// AVX-512 with bf16, without and with tiles, as far as this CPU has them and the system grants their state; says what it lacks.
pub fn reduced_targets() -> Vec<Target> {
    let mut have = Vec::new();
    #[cfg(target_arch = "x86_64")]
    if native_targets().contains(&Target::AVX512) && is_x86_feature_detected!("avx512bf16") {
        have.push(Target { features: Features::BF16, ..Target::AVX512 });
        // AMX-BF16 is bit 22.
        if has_tiles(24, 22) {
            have.push(Target { features: Features::BF16 | Features::AMX_BF16, ..Target::AVX512 });
        }
    }
    match have.len() {
        0 => eprintln!("skipped: this CPU has no bf16"),
        1 => eprintln!("skipped: this CPU has no AMX, or the system does not grant it"),
        _ => {}
    }
    have
}

/// Code in executable memory.
pub struct Code {
    ptr: *mut libc::c_void,
    len: usize,
}

impl Code {
    pub fn new(kernel: &CompiledKernel) -> Code {
        let len = kernel.code.len().next_multiple_of(4096);
        // SAFETY: a fresh private mapping, written within its length before it becomes executable and read-only.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let ptr = libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            assert_ne!(ptr, libc::MAP_FAILED);
            std::ptr::copy_nonoverlapping(kernel.code.as_ptr(), ptr.cast(), kernel.code.len());
            assert_eq!(libc::mprotect(ptr, len, libc::PROT_READ | libc::PROT_EXEC), 0);
            Code { ptr, len }
        }
    }

    /// Calls the kernel.
    ///
    /// # Safety
    /// The operands must be valid for what the kernel reads and writes.
    pub unsafe fn call(&self, args: &[*mut u8], begin: usize, end: usize) {
        // SAFETY: the mapping holds a kernel of this signature; the operands are the caller's.
        unsafe {
            let f: extern "C" fn(*const *mut u8, usize, usize) = std::mem::transmute(self.ptr);
            f(args.as_ptr(), begin, end);
        }
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`.
        unsafe {
            libc::munmap(self.ptr, self.len);
        }
    }
}

/// Bytes around every buffer that must stay as they are.
const GUARD: usize = 256;
const FILL: u8 = 0x7f; // As floats: 3.4e38, which no result survives.

/// A schedule ready to run.
pub struct Machine<'a> {
    schedule: &'a Schedule,
    codes: Vec<Option<Code>>,
    memory: Vec<Vec<u64>>,
}

impl<'a> Machine<'a> {
    pub fn new(schedule: &'a Schedule) -> Machine<'a> {
        let codes = schedule
            .kernels
            .iter()
            .map(|(_, k)| match &k.code {
                KernelCode::Machine(c) => Some(Code::new(c)),
                KernelCode::Loops(_) | KernelCode::Border(_) | KernelCode::Program(_) => None,
            })
            .collect();
        let memory = schedule
            .buffers
            .iter()
            .map(|(_, b)| vec![u64::from_ne_bytes([FILL; 8]); (b.bytes + 2 * GUARD + 64) / 8 + 1])
            .collect();
        let mut m = Machine { schedule, codes, memory };
        for (at, piece) in schedule.weights.pieces() {
            for (id, b) in schedule.buffers.iter() {
                if let BufferKind::Weights(start) = b.kind
                    && start <= at
                    && at + piece.len() <= start + b.bytes
                {
                    // SAFETY: inside the buffer's memory.
                    unsafe {
                        let to = m.base(id).add(at - start);
                        std::ptr::copy_nonoverlapping(piece.as_ptr(), to, piece.len());
                    }
                }
            }
        }
        m
    }

    /// Address of a buffer.
    pub fn base(&mut self, id: BufferId) -> *mut u8 {
        let b = &self.schedule.buffers[id];
        if let BufferKind::Within(parent, offset) = b.kind {
            // SAFETY: a child lies inside its parent.
            return unsafe { self.base(parent).add(offset) };
        }
        let p: *mut u8 = self.memory[id.index()].as_mut_ptr().cast();
        let start = p as usize + GUARD;
        // SAFETY: the allocation holds the buffer, both guards and the alignment.
        unsafe { p.add(start.next_multiple_of(64) - p as usize) }
    }

    /// Runs all steps on these inputs and gives the outputs.
    pub fn run(&mut self, inputs: &[Tensor], outputs: &[(DType, Vec<usize>)], split: bool) -> Vec<Tensor> {
        for (&id, t) in self.schedule.inputs.iter().zip(inputs) {
            let to = self.base(id);
            // SAFETY: an input buffer has the size of its tensor.
            unsafe { std::ptr::copy_nonoverlapping(t.bytes().as_ptr(), to, t.bytes().len()) };
        }
        self.run_steps(split);
        let ids = self.schedule.outputs.clone();
        let out = ids
            .iter()
            .zip(outputs)
            .map(|(&id, (dtype, dims))| {
                let bytes = self.schedule.buffers[id].bytes;
                // SAFETY: the buffer's own bytes.
                let data = unsafe { std::slice::from_raw_parts(self.base(id), bytes) }.to_vec();
                Tensor::from_bytes(*dtype, dims.clone(), mnnc_ir::bytes::Bytes::from_vec(data)).expect("output size")
            })
            .collect();
        self.check_guards();
        out
    }

    /// Zeros all memory that is not weights, for measurements without values that slow arithmetic down.
    pub fn clear(&mut self) {
        for (id, b) in self.schedule.buffers.iter() {
            if !matches!(b.kind, BufferKind::Weights(_)) {
                self.memory[id.index()].fill(0);
            }
        }
    }

    /// Runs all steps; `split` runs each in two shares.
    pub fn run_steps(&mut self, split: bool) {
        for s in &self.schedule.steps {
            let args: Vec<*mut u8> = s
                .operands
                .iter()
                .map(|o| {
                    assert!(
                        o.offset + o.bytes <= self.schedule.buffers[o.buffer].bytes,
                        "operand of {} out of bounds",
                        s.name
                    );
                    // SAFETY: inside the buffer, as checked.
                    unsafe { self.base(o.buffer).add(o.offset) }
                })
                .collect();
            let cut = if split { s.units / 2 } else { s.units };
            for (begin, end) in [(0, cut), (cut, s.units)] {
                self.call(s.kernel, &args, begin, end);
            }
        }
    }

    fn call(&self, kernel: KernelId, args: &[*mut u8], begin: usize, end: usize) {
        match (&self.schedule.kernels[kernel].code, &self.codes[kernel.index()]) {
            (KernelCode::Machine(_), Some(code)) => {
                // SAFETY: operands are inside their buffers; guards catch what goes beyond.
                unsafe { code.call(args, begin, end) }
            }
            (KernelCode::Loops(k), _) => interpret(k, args, begin, end),
            (KernelCode::Border(s), _) => zero_border(s, args[0], begin, end),
            (KernelCode::Program(p), _) => self.program(p, args, begin, end),
            _ => unreachable!(),
        }
    }

    /// What `codegen` compiles a program to.
    fn program(&self, p: &Program, args: &[*mut u8], begin: usize, end: usize) {
        let mut memory = vec![u64::from_ne_bytes([FILL; 8]); (p.scratch + 2 * GUARD + 64) / 8 + 1];
        let start: *mut u8 = memory.as_mut_ptr().cast();
        let first = (start as usize + GUARD).next_multiple_of(64) - start as usize;
        let scratch = start.wrapping_add(first);
        let run = |run: &Run, unit: usize| {
            let at = [unit / p.panels, unit % p.panels];
            for round in 0..run.count {
                for call in &run.calls {
                    let address = |a: &Arg| {
                        let base = match a.base {
                            Base::Scratch => scratch,
                            Base::Operand(i) => args[i].wrapping_add(at[0] * p.strides[i][0] + at[1] * p.strides[i][1]),
                        };
                        base.wrapping_offset(a.offset as isize + round as isize * a.step)
                    };
                    let args: Vec<*mut u8> = call.args.iter().map(address).collect();
                    self.call(call.kernel, &args, 0, call.units);
                }
            }
        };
        run(&Run { count: 1, calls: p.setup.clone() }, 0);
        for unit in begin..end {
            p.body.iter().for_each(|r| run(r, unit));
        }
        let bytes: &[u8] = bytemuck::cast_slice(&memory);
        let guards = bytes[first - GUARD..first].iter().chain(&bytes[first + p.scratch..first + p.scratch + GUARD]);
        assert!(guards.into_iter().all(|&x| x == FILL), "a program wrote beyond its scratch");
    }

    fn check_guards(&mut self) {
        for id in self.schedule.buffers.keys() {
            let b = &self.schedule.buffers[id];
            if matches!(b.kind, BufferKind::Within(..)) {
                continue;
            }
            let (name, bytes) = (b.name.clone(), b.bytes);
            let p = self.base(id);
            // SAFETY: the guards belong to the allocation.
            let clean = unsafe {
                let before = std::slice::from_raw_parts(p.sub(GUARD), GUARD);
                let after = std::slice::from_raw_parts(p.add(bytes), GUARD);
                before.iter().chain(after).all(|&x| x == FILL)
            };
            assert!(clean, "something wrote beyond buffer {name}");
        }
    }
}

/// Fills everything of a blocked storage but its elements, in planes `begin..end`.
fn zero_border(s: &Storage, base: *mut u8, begin: usize, end: usize) {
    let (plane, row, pixel) = (s.strides[1], s.strides[2], s.strides[3]);
    let h = s.halo;
    for p in begin..end {
        for y in 0..plane / row {
            for x in 0..row / pixel {
                let inside = y >= h.top && y < h.top + s.dims[2] && x >= h.left && x < h.left + s.dims[3];
                if !inside {
                    // SAFETY: a pixel of the storage.
                    unsafe { base.add(p * plane + y * row + x * pixel).write_bytes(h.fill, pixel) };
                }
            }
        }
    }
}

fn interpret(k: &LoopKernel, args: &[*mut u8], begin: usize, end: usize) {
    let dims = &k.stage.dims;
    let inner: usize = dims[k.unit_dims..].iter().product();
    let output = *args.last().expect("an output");
    for flat in begin * inner..end * inner {
        let mut index = vec![0; dims.len()];
        let mut rest = flat;
        for d in (0..dims.len()).rev() {
            index[d] = rest % dims[d];
            rest /= dims[d];
        }
        let value = match &k.stage.reduce {
            None => eval(&k.stage.body, k, args, &index, k.stage.body.result),
            Some(r) => {
                use mnnc_ir::compute::Combine;
                let mut acc = r.init;
                for n in 0..r.dims.iter().product::<usize>() {
                    let mut full = index.clone();
                    let mut rest = n;
                    let mut tail = vec![0; r.dims.len()];
                    for d in (0..r.dims.len()).rev() {
                        tail[d] = rest % r.dims[d];
                        rest /= r.dims[d];
                    }
                    full.extend(tail);
                    let x = eval(&k.stage.body, k, args, &full, k.stage.body.result);
                    acc = match r.combine {
                        Combine::Sum => acc + x,
                        Combine::Product => acc * x,
                        Combine::Max => acc.max(x),
                        Combine::Min => acc.min(x),
                    };
                }
                acc
            }
        };
        let at = k.output.address(&index);
        // SAFETY: the storage lies inside the operand.
        unsafe {
            match k.output.dtype {
                DType::F32 => output.add(at).cast::<f32>().write_unaligned(value as f32),
                DType::I32 => output.add(at).cast::<i32>().write_unaligned(value as i32),
                DType::U8 => output.add(at).write(value as u8),
                DType::I8 => output.add(at).write((value as i8).cast_unsigned()),
                DType::BF16 => output.add(at).cast::<u16>().write_unaligned(half::bf16::from_f64(value).to_bits()),
                d => panic!("store of {d}"),
            }
        };
    }
}

/// The value of an expression, every step rounded to its type as the native loops round it.
fn eval(f: &ScalarFn, k: &LoopKernel, args: &[*mut u8], axes: &[usize], e: Expr) -> f64 {
    let value = unrounded(f, k, args, axes, e);
    if f.dtype(e) == DType::F32 { f64::from(value as f32) } else { value }
}

fn unrounded(f: &ScalarFn, k: &LoopKernel, args: &[*mut u8], axes: &[usize], e: Expr) -> f64 {
    let go = |e: Expr| eval(f, k, args, axes, e);
    match f.node(e) {
        ScalarNode::Const(x) => *x,
        ScalarNode::Axis(i) => axes[*i] as f64,
        ScalarNode::Load { source, index, guard } => {
            if let Some((c, otherwise)) = guard
                && go(*c) == 0.0
            {
                return go(*otherwise);
            }
            let Source::Input(i) = *source else { panic!("a stage in a kernel") };
            let index: Vec<usize> = index.iter().map(|&e| go(e) as usize).collect();
            let s = &k.inputs[i];
            assert!(index.iter().zip(&s.dims).all(|(i, d)| i < d), "load out of bounds");
            // SAFETY: inside the operand's storage.
            unsafe {
                let p = args[i].add(s.address(&index));
                match s.dtype {
                    DType::F32 => f64::from(p.cast::<f32>().read_unaligned()),
                    DType::I32 => f64::from(p.cast::<i32>().read_unaligned()),
                    DType::U8 => f64::from(p.read()),
                    DType::I8 => f64::from(p.cast::<i8>().read()),
                    DType::BF16 => f64::from(half::bf16::from_bits(p.cast::<u16>().read_unaligned())),
                    DType::I64 => p.cast::<i64>().read_unaligned() as f64,
                    d => panic!("load of {d}"),
                }
            }
        }
        ScalarNode::Unary(u, a) => match u {
            Unary::Exp => go(*a).exp(),
            Unary::Sqrt => go(*a).sqrt(),
            Unary::Abs => go(*a).abs(),
            Unary::Neg => -go(*a),
            Unary::Not => f64::from(go(*a) == 0.0),
            Unary::Round => go(*a).round_ties_even(),
            u => panic!("{u:?}"),
        },
        ScalarNode::Binary(op, a, b) => {
            let (x, y) = (go(*a), go(*b));
            let int = f.dtype(*a) == DType::I64;
            match op {
                Binary::Add => x + y,
                Binary::Sub => x - y,
                Binary::Mul => x * y,
                Binary::Div if int => (x / y).trunc(),
                Binary::Div => x / y,
                Binary::Rem => x % y,
                Binary::Max => x.max(y),
                Binary::Min => x.min(y),
                Binary::And => f64::from(x != 0.0 && y != 0.0),
                Binary::Or => f64::from(x != 0.0 || y != 0.0),
                op => panic!("{op:?}"),
            }
        }
        ScalarNode::Compare(r, a, b) => {
            let (x, y) = (go(*a), go(*b));
            f64::from(match r {
                Cmp::Eq => x == y,
                Cmp::Ne => x != y,
                Cmp::Lt => x < y,
                Cmp::Le => x <= y,
                Cmp::Gt => x > y,
                Cmp::Ge => x >= y,
            })
        }
        ScalarNode::Select(c, a, b) => {
            if go(*c) != 0.0 {
                go(*a)
            } else {
                go(*b)
            }
        }
        // Floats saturate.
        ScalarNode::Cast(a) if f.dtype(*a) == DType::F32 => match f.dtype(e) {
            DType::U8 => f64::from(go(*a) as u8),
            DType::I8 => f64::from(go(*a) as i8),
            _ => go(*a),
        },
        ScalarNode::Cast(a) => go(*a),
        ScalarNode::Arg(_) => panic!("a loop body has no arguments"),
    }
}
