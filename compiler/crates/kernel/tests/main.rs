//! Tests of the kernels, in one program: each module is a suite.

mod arg_family;
mod attention_family;
mod bf16;
mod bytes;
mod bytes_speed;
mod conv_family;
mod conv_speed;
mod conv_transpose_family;
mod copy_family;
mod int8;
mod line_buffer;
mod line_buffer_bottleneck;
mod line_buffer_bytes;
mod op_samples;
mod packed_weights;
mod quantize_rows;
mod random_ops;
mod support;
mod winograd_stack;
