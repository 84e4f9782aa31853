//! What the model must choose.

use super::*;
use crate::families::igemm::packing::Packing;
use crate::families::igemm::spec::{Number, Window};
use crate::families::winograd::Size;

fn conv(channels: usize, size: usize, kernel: usize) -> Problem {
    let window = Window { kernel: [kernel; 2], ..Window::POINT };
    Problem {
        number: Number::F32,
        images: 1,
        groups: 1,
        inputs: channels,
        outputs: channels,
        window,
        border: None,
        out: [size; 2],
        own_weights: false,
        apart: 64,
        packing: Packing::WHOLE,
    }
}

fn planner(core: Core) -> Planner {
    Planner::for_core(Target::AVX512, core).with_weights(47 << 20)
}

fn size(planner: &Planner, channels: usize, n: usize) -> Option<Size> {
    let p = conv(channels, n, 3);
    planner.winograd(&p, &p).map(|w| w.size)
}

/// The choices that measured best on the reference core.
#[test]
fn the_measured_choices_come_out() {
    let zen5 = planner(Core::Zen5);
    assert_eq!(size(&zen5, 64, 56), Some(Size::F4));
    assert_eq!(size(&zen5, 128, 28), Some(Size::F4));
    assert_eq!(size(&zen5, 256, 14), Some(Size::F4));
    assert_eq!(size(&zen5, 512, 7), Some(Size::F2));
}

/// Where memory is slow, weights must not grow more than the products shrink.
#[test]
fn slow_memory_keeps_weights_small() {
    let intel = planner(Core::SapphireRapids);
    assert_eq!(size(&intel, 64, 56), Some(Size::F4));
    assert_eq!(size(&intel, 512, 7), None);
}

/// 14 pixels by 2 vectors, weights outside on small images and pixels outside on large ones.
#[test]
fn usual_products_are_cut_as_measured() {
    for core in [Core::Zen5, Core::SapphireRapids, Core::Avx512] {
        for (channels, n, kernel) in [(64, 56, 1), (64, 56, 3), (256, 14, 1), (128, 28, 3)] {
            let d = planner(core).direct(&conv(channels, n, kernel));
            assert_eq!((d.blocks, d.tile), (2, [1, 14]), "{core} {channels} {n} {kernel}");
        }
        assert_eq!(planner(core).direct(&conv(512, 7, 3)).tile, [2, 7]);
    }
}

/// All candidates exist, and each is counted at least its arithmetic.
#[test]
fn candidates_fit_and_cost_their_arithmetic() {
    for (target, core) in [(Target::AVX512, Core::Zen5), (Target::AVX2, Core::Avx2), (Target::NEON, Core::Neon)] {
        let planner = Planner::for_core(target, core);
        for channels in [1, 16, 40, 64, 200] {
            for n in [1, 2, 5, 7, 20, 56] {
                for kernel in [1, 3] {
                    let p = conv(channels, n, kernel);
                    let all = planner.candidates(&p);
                    assert!(!all.is_empty());
                    for (choice, cycles) in all {
                        assert!(choice.fits(&p, &target), "{target} {p}: {choice}");
                        let saved = match choice {
                            Choice::Winograd(_) => 4.0,
                            Choice::Direct(_) => 1.0,
                        };
                        assert!(cycles * planner.machine().peak(target.lanes()) * saved > p.flops(), "{p}: {choice}");
                    }
                }
            }
        }
    }
}
