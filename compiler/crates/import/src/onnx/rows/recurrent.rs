//! Recurrent layers.

use crate::onnx::table::{Row, plain};

pub(super) static ROWS: &[Row] = &[plain("GRU", "gru"), plain("LSTM", "lstm"), plain("RNN", "rnn")];
