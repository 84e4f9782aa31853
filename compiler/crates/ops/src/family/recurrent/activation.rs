//! Activations of recurrent cells.

use mnnc_ir::OpError;

/// An activation with its default parameters.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Activation {
    /// Logistic function.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// max(x, 0).
    Relu,
    /// clamp(0.2 x + 0.5, 0, 1).
    HardSigmoid,
    /// x / (1 + |x|).
    Softsign,
    /// ln(1 + e^x).
    Softplus,
    /// x for positive x, else 0.01 x.
    LeakyRelu,
    /// x for positive x, else e^x - 1.
    Elu,
}

impl Activation {
    /// The activation of this ONNX name, whatever its case.
    pub fn parse(name: &str) -> Result<Activation, OpError> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "sigmoid" => Activation::Sigmoid,
            "tanh" => Activation::Tanh,
            "relu" => Activation::Relu,
            "hardsigmoid" => Activation::HardSigmoid,
            "softsign" => Activation::Softsign,
            "softplus" => Activation::Softplus,
            "leakyrelu" => Activation::LeakyRelu,
            "elu" => Activation::Elu,
            _ => return Err(OpError::unsupported(format!("recurrent activation '{name}' is not supported"))),
        })
    }
    /// Its value at `x`.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
            Activation::Relu => x.max(0.0),
            Activation::HardSigmoid => (0.2 * x + 0.5).clamp(0.0, 1.0),
            Activation::Softsign => x / (1.0 + x.abs()),
            Activation::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Activation::LeakyRelu => {
                if x > 0.0 {
                    x
                } else {
                    0.01 * x
                }
            }
            Activation::Elu => {
                if x > 0.0 {
                    x
                } else {
                    x.exp_m1()
                }
            }
        }
    }
}
