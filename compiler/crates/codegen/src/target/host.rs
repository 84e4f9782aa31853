//! Which kind of core this program runs on.

use super::{Level, any};
use mnnc_kernel::Core;
use raw_cpuid::CpuId;

/// The kind of core, used at this level. Hypervisors may hide or change family and model; what the core can do they cannot
/// add to, so the newest Intel servers are told by their matrix units.
pub(super) fn core(level: Level) -> Core {
    let id = CpuId::new();
    let vendor = id.get_vendor_info();
    let vendor = vendor.as_ref().map_or("", |v| v.as_str());
    let model = id.get_feature_info().map_or((0, 0), |f| (f.family_id(), f.model_id()));
    let matrix = id.get_extended_feature_info().is_some_and(|f| f.has_amx_bf16());
    of(vendor, model, matrix, level)
}

/// By `cpuid`'s vendor, family and model.
fn of(vendor: &str, (family, model): (u8, u8), matrix: bool, level: Level) -> Core {
    if level < Level::X64V3 {
        return any(level);
    }
    match (vendor, family, model) {
        ("AuthenticAMD", 0x1a, _) => Core::Zen5,
        ("AuthenticAMD", 0x19, 0x10..=0x1f | 0x60..=0x7f | 0xa0..=0xaf) => Core::Zen4,
        ("AuthenticAMD", 0x17 | 0x19, _) => Core::Zen3,
        ("GenuineIntel", ..) if matrix => Core::SapphireRapids,
        ("GenuineIntel", 6, 0x6a | 0x6c) => Core::IceLakeServer,
        ("GenuineIntel", 6, 0x55) if level == Level::X64V4 => Core::SkylakeServer,
        _ => any(level),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_told_by_family_and_model() {
        let amd = |family, model| of("AuthenticAMD", (family, model), false, Level::X64V4);
        assert_eq!(amd(0x1a, 0x02), Core::Zen5);
        assert_eq!(amd(0x19, 0x11), Core::Zen4);
        assert_eq!(of("AuthenticAMD", (0x19, 0x01), false, Level::X64V3), Core::Zen3);
        let intel = |model, matrix, level| of("GenuineIntel", (6, model), matrix, level);
        assert_eq!(intel(0x8f, true, Level::X64V4), Core::SapphireRapids);
        assert_eq!(intel(0x55, false, Level::X64V4), Core::SkylakeServer);
        assert_eq!(intel(0x97, false, Level::X64V3), Core::Avx2);
        assert_eq!(of("Another", (1, 1), false, Level::X64V4), Core::Avx512);
        assert_eq!(amd(0x1a, 0x02), of("AuthenticAMD", (0x1a, 0x70), false, Level::X64V3));
    }
}
