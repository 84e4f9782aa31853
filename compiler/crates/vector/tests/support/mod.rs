//! Runs compiled kernels: x64 in this process, AArch64 under qemu.

mod qemu;
pub mod reference;

use mnnc_vector::{CompiledKernel, Features, Isa, Target};

/// Whether the CPU that runs the tests has the instructions of an x64 target.
pub fn cpu_has(target: &Target) -> bool {
    match target.isa {
        #[cfg(target_arch = "x86_64")]
        Isa::X64Avx512 => {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("bmi2")
        }
        #[cfg(target_arch = "x86_64")]
        Isa::X64Avx2 => {
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
        }
        _ => false,
    }
}

/// AVX-512 with these features, if this CPU has them and the system grants their state; says so if not.
pub fn with_features(features: Features) -> Option<Target> {
    let mut have = Features::empty();
    #[cfg(target_arch = "x86_64")]
    if cpu_has(&Target::AVX512) {
        have.set(Features::BF16, is_x86_feature_detected!("avx512bf16"));
        // Leaf 7: AMX-BF16, AMX-TILE and AMX-INT8 are bits 22, 24 and 25 of edx.
        let edx = std::arch::x86_64::__cpuid_count(7, 0).edx;
        // SAFETY: ARCH_REQ_XCOMP_PERM (0x1023) of component 18, tile data, only changes what this process may use.
        let granted = edx >> 24 & 1 == 1 && unsafe { libc::syscall(libc::SYS_arch_prctl, 0x1023, 18) } == 0;
        have.set(Features::AMX_BF16, granted && edx >> 22 & 1 == 1);
        have.set(Features::AMX_INT8, granted && edx >> 25 & 1 == 1);
        have.set(Features::VNNI, is_x86_feature_detected!("avx512vnni"));
        have.set(Features::VBMI, is_x86_feature_detected!("avx512vbmi"));
    }
    if !have.contains(features) {
        eprintln!("skipped: this CPU has no {features:?}");
        return None;
    }
    Some(Target { features, ..Target::AVX512 })
}

/// The x64 targets that this CPU can run; says which it cannot.
pub fn native_targets() -> Vec<Target> {
    let (have, lack): (Vec<_>, Vec<_>) = [Target::AVX512, Target::AVX2].into_iter().partition(cpu_has);
    for t in lack {
        eprintln!("skipped: this CPU has no {t}");
    }
    have
}

/// The same with products of bytes, where the CPU has them.
fn native_dot_targets() -> Vec<Target> {
    let mut have = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let all = [
            (Target::AVX512, is_x86_feature_detected!("avx512vnni")),
            (Target::AVX2, is_x86_feature_detected!("avxvnni")),
        ];
        have.extend(all.into_iter().filter(|(t, dot)| *dot && cpu_has(t)).map(|(t, _)| t));
    }
    have.into_iter().map(|t| Target { features: Features::VNNI, ..t }).collect()
}

/// Code in executable memory.
pub struct Jit {
    ptr: *mut libc::c_void,
    len: usize,
}

impl Jit {
    pub fn new(kernel: &CompiledKernel) -> Jit {
        let len = kernel.code.len().next_multiple_of(4096);
        // SAFETY: a fresh private mapping, written within its length before it is made executable and read-only.
        unsafe {
            let ptr = libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(ptr, libc::MAP_FAILED);
            std::ptr::copy_nonoverlapping(kernel.code.as_ptr(), ptr.cast(), kernel.code.len());
            assert_eq!(libc::mprotect(ptr, len, libc::PROT_READ | libc::PROT_EXEC), 0);
            Jit { ptr, len }
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

impl Drop for Jit {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`.
        unsafe {
            libc::munmap(self.ptr, self.len);
        }
    }
}

/// All targets whose kernels can be run here.
pub fn runnable_targets() -> Vec<Target> {
    let mut targets = native_targets();
    targets.extend(native_dot_targets());
    targets.extend(with_features(Features::VBMI));
    match qemu::runner() {
        Some(_) => targets.extend([Target::NEON, Target { features: Features::I8MM, ..Target::NEON }]),
        None => eprintln!("skipped: no aarch64-linux-gnu-gcc or qemu-aarch64"),
    }
    targets
}

/// Runs a kernel on buffers of words, which it reads and writes in place.
pub fn run(target: &Target, kernel: &CompiledKernel, buffers: &mut [Vec<u32>], begin: usize, end: usize) {
    if target.isa == Isa::A64Neon {
        qemu::run(kernel, buffers, begin, end);
    } else {
        let args: Vec<*mut u8> = buffers.iter_mut().map(|b| b.as_mut_ptr().cast()).collect();
        // SAFETY: the tests give buffers of the sizes that their kernels touch.
        unsafe { Jit::new(kernel).call(&args, begin, end) };
    }
}

/// The code up to its return, in GNU syntax, by an independent decoder.
pub fn disassemble_x64(kernel: &CompiledKernel) -> Vec<String> {
    use iced_x86::{Code, Decoder, DecoderOptions, Formatter, GasFormatter};
    let mut decoder = Decoder::with_ip(64, &kernel.code, 0, DecoderOptions::NONE);
    let mut formatter = GasFormatter::new();
    formatter.options_mut().set_rip_relative_addresses(true);
    let mut lines = Vec::new();
    while decoder.can_decode() {
        let inst = decoder.decode();
        assert_ne!(inst.code(), Code::INVALID, "invalid code at {:#x}", inst.ip());
        let mut line = String::new();
        formatter.format(&inst, &mut line);
        lines.push(line);
        if inst.code() == Code::Retnq {
            break;
        }
    }
    lines
}

/// A page of memory followed by one that must not be touched.
pub struct GuardedPage {
    ptr: *mut libc::c_void,
}

const PAGE: usize = 4096;

impl GuardedPage {
    pub fn new() -> GuardedPage {
        // SAFETY: a fresh private mapping of two pages, of which the second is made inaccessible.
        unsafe {
            let ptr = libc::mmap(
                std::ptr::null_mut(),
                2 * PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(ptr, libc::MAP_FAILED);
            assert_eq!(libc::mprotect(ptr.cast::<u8>().add(PAGE).cast(), PAGE, libc::PROT_NONE), 0);
            GuardedPage { ptr }
        }
    }

    /// The last words of the page.
    pub fn last_words(&self, count: usize) -> *mut u32 {
        // SAFETY: stays inside the page.
        unsafe { self.ptr.cast::<u32>().add(PAGE / 4 - count) }
    }
}

impl Drop for GuardedPage {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`.
        unsafe {
            libc::munmap(self.ptr, 2 * PAGE);
        }
    }
}
