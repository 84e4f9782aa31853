//! Peak of the AMX tile unit in bf16. The intrinsics are not stable, so this is assembly.

use super::fma::Kernel;

/// The kernel, if this core has AMX and the system lets this process use it.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) fn bf16() -> Option<Kernel> {
    /// `ARCH_REQ_XCOMP_PERM`: asks for the use of an extended state component.
    const REQUEST: libc::c_long = 0x1023;
    /// Component 18: the tiles' data.
    const TILES: libc::c_long = 18;
    // Leaf 7: EDX bit 22 is AMX-BF16, bit 24 AMX-TILE.
    let leaf = std::arch::x86_64::__cpuid_count(7, 0).edx;
    if leaf >> 22 & 1 == 0 || leaf >> 24 & 1 == 0 {
        return None;
    }
    // SAFETY: takes two numbers and touches no memory.
    if unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILES) } != 0 {
        return None;
    }
    // SAFETY: the core has the instructions, and the system granted their state.
    Some(|rounds| unsafe { products(rounds) })
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(super) fn bf16() -> Option<Kernel> {
    None
}

/// The operand of `ldtilecfg`: palette 1, every tile 16 rows of 64 bytes.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

/// Two by two products of 16x32 by 32x16, as a matrix kernel has them; four tiles of sums.
///
/// # Safety
/// The core has AMX-BF16, and this process may use it.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
unsafe fn products(rounds: usize) -> usize {
    let mut config = TileConfig { palette: 1, start_row: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
    config.bytes[..8].fill(64);
    config.rows[..8].fill(16);
    // SAFETY: reads the configuration, otherwise registers only; the tiles are released.
    unsafe {
        std::arch::asm!(
            "ldtilecfg [{config}]",
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "tilezero tmm4", "tilezero tmm5", "tilezero tmm6", "tilezero tmm7",
            "2:",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {rounds}",
            "jnz 2b",
            "tilerelease",
            config = in(reg) &raw const config,
            rounds = inout(reg) rounds.max(1) => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly),
        );
    }
    4 * 2 * 16 * 16 * 32
}
