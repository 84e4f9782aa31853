//! `.mnn` files read: those of our writer, of MNN's converter and quantiser, and broken ones.

mod broken;
mod converted;
mod networks;
mod round_trip;
