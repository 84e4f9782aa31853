//! The order of the reduction: loops over the blocks of channels, the filter's rows and columns, and the rows of tiles in a block.

use super::super::spec::Spec;

/// Most steps without a loop.
const UNROLL: usize = 6;

/// A loop of the reduction.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Loop {
    /// Rounds.
    pub count: usize,
    /// Bytes of the input from round to round.
    pub stride: usize,
    /// The dimension of the filter that it is over, if it is.
    pub window: Option<usize>,
}

/// The reduction as loops around a straight run: its steps and the bytes of the input between them. Loops over dimensions of the filter
/// whose taps may be left out stay loops.
pub fn reduction(spec: &Spec, row: usize, leaves_out: [bool; 2]) -> (Vec<Loop>, Loop) {
    let block = spec.block_in.min(spec.channels_in);
    let [kh, kw] = spec.window.kernel;
    let [dh, dw] = spec.window.dilation;
    let mut loops: Vec<Loop> = [
        Loop { count: spec.channels_in / block, stride: spec.input.plane, window: None },
        Loop { count: kh, stride: dh * spec.input.row, window: Some(0) },
        Loop { count: kw, stride: dw * spec.input.pixel, window: Some(1) },
        Loop { count: block / row, stride: 4 * row, window: None },
    ]
    .into_iter()
    .filter(|l| l.count > 1)
    .collect();
    let is_run = |l: &mut Loop| l.window.is_none_or(|d| !leaves_out[d]);
    let inner = loops.pop_if(is_run).unwrap_or(Loop { count: 1, stride: 0, window: None });
    let run = largest_divisor(inner.count, UNROLL);
    if run < inner.count {
        loops.push(Loop { count: inner.count / run, stride: run * inner.stride, window: None });
    }
    (loops, Loop { count: run, ..inner })
}

fn largest_divisor(n: usize, most: usize) -> usize {
    (1..=most.min(n)).rev().find(|d| n.is_multiple_of(*d)).unwrap_or(1)
}

/// The loops around a run of so many steps, cut in two: those over chunks of at most `most` steps, and those within one.
pub fn in_chunks(loops: &[Loop], run: usize, most: usize) -> (Vec<Loop>, Vec<Loop>) {
    let mut steps = run;
    let mut at = loops.len();
    while at > 0 && steps * loops[at - 1].count <= most {
        at -= 1;
        steps *= loops[at].count;
    }
    let (mut chunks, mut within) = (loops[..at].to_vec(), loops[at..].to_vec());
    if let Some(split) = chunks.pop() {
        let inner = largest_divisor(split.count, most / steps);
        if inner > 1 {
            within.insert(0, Loop { count: inner, ..split });
        }
        chunks.push(Loop { count: split.count / inner, stride: inner * split.stride, ..split });
    }
    (chunks, within)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The input offsets of all steps, in order.
    fn offsets(loops: &[Loop], run: Loop) -> Vec<usize> {
        let all = loops.iter().chain(std::iter::once(&run));
        all.fold(vec![0], |out, l| out.iter().flat_map(|o| (0..l.count).map(move |i| o + i * l.stride)).collect())
    }

    #[test]
    fn chunks_are_the_reduction_cut_up() {
        for (counts, run) in [(vec![8, 3], 3), (vec![16], 4), (vec![3, 7], 1), (vec![], 6), (vec![5, 3, 4], 2)] {
            let stride = |i: usize| 1000usize.pow(i as u32 + 1);
            let loops: Vec<Loop> = counts
                .iter()
                .enumerate()
                .map(|(i, &count)| Loop { count, stride: stride(counts.len() - i), window: None })
                .collect();
            let run = Loop { count: run, stride: 1, window: None };
            for most in 6..40 {
                let (chunks, within) = in_chunks(&loops, run.count, most);
                let joined: Vec<Loop> = chunks.iter().chain(&within).copied().collect();
                assert_eq!(offsets(&joined, run), offsets(&loops, run), "{loops:?} by {most}");
                assert!(run.count * within.iter().map(|l| l.count).product::<usize>() <= most);
            }
        }
    }
}
