//! Chains of layers whose intermediate images exist a few rows at a time: a dense convolution, the depthwise convolution or max pooling that reads
//! it, and the 1x1 convolution behind that; or two dense convolutions.
//!
//! # The first two layers
//! For each panel of channels (they are independent of each other in the second layer) the rows of the first layer's result go through a
//! ring in L1, just ahead of the windows that read them: [`ring`] finds its size and the order of the calls, and a [`Program`] of
//! the ordinary kernels carries it out, one unit a panel. Small images are made and read whole; rows too long for a ring in L1 are cut
//! into chunks of columns.
//!
//! # The third layer
//! It needs all channels of a pixel, so it cannot run panel by panel; and what the second layer makes may exceed L2. Then both run
//! strip by strip: the program for some rows of output into a buffer that L2 holds, the third layer on those, and so on. A
//! strip begins with an empty ring, so the rows under its first windows are made twice, which strips of many rows keep cheap.
//!
//! All three are of floats, or all of bytes. Chains of bytes wait for arithmetic rather than for L2: they pay where the image between the
//! first two layers exceeds L2, and a ring may lie there.
//!
//! # Two dense convolutions
//! A 1x1 convolution whose result exceeds L2 and the larger dense one that alone reads it, as the bottlenecks of residual networks have where they
//! halve the image, run strip by strip as well. Neither works channel by channel, so the rows go through no ring: the first layer makes all those
//! under the windows of a strip at once, and [`bottleneck`] finds strips that make few of them twice. No more than a strip of the
//! intermediate image ever exists, which spares the workspace most of it.
//!
//! # Neighbours
//! A global pooling of what the second layer makes (squeeze and excite) runs panel by panel with it. The element-wise pass that scales
//! an image which exceeds L2, and the 1x1 convolution behind, run strip by strip, too.
//!
//! Measured (mobilenet_v2, Zen 5): rings of panels gain wherever they fit L1; fusing only the second and third layer loses.

mod axis;
mod bottleneck;
mod chain;
mod dense_layer;
mod emit;
mod first_layer;
mod ring;
mod scaled;
mod second_layer;
mod third_layer;
mod window_layer;

pub(crate) use chain::{Candidate, Chain, find};

use crate::families::igemm::spec::Strides;

/// The bytes from the first to the last element of an image of `planes` planes, `rows` rows and `cols` columns.
fn extent(s: &Strides, [planes, rows, cols]: [usize; 3], element: usize) -> usize {
    (planes - 1) * s.plane + (rows - 1) * s.row + (cols - 1) * s.pixel + element
}
