//! `.mnn` files read: those of our writer, of MNN's converter and quantiser, and broken ones.

#[path = "mnn_reader/broken.rs"]
mod broken;
#[path = "mnn_reader/converted.rs"]
mod converted;
#[path = "mnn/engine.rs"]
#[allow(dead_code)]
mod engine;
#[path = "mnn_reader/networks.rs"]
mod networks;
#[path = "mnn_reader/round_trip.rs"]
mod round_trip;
#[path = "mnn/samples.rs"]
mod samples;
