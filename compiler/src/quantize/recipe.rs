//! What a configuration asks for, with what is best where it leaves that open.

use mnnc_ir::{Graph, NodeId};
use mnnc_quant::calibrate::{Method, Spec, Style};
use mnnc_quant::weight;

use crate::calibrate::{Config, FeatureMethod, WeightMethod};

/// Samples a batch in MNN, if the configuration says nothing.
const BATCH: usize = 32;
/// The power of the error that the search for ranges makes least, where no method is named.
const POWER: f64 = 2.0;

/// The choices of one quantisation.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Ranges of activations.
    pub activations: Spec,
    /// How weights are quantised.
    pub weights: WeightMethod,
    /// Bits of a weight.
    pub weight_bits: u8,
    /// The largest integer of a weight.
    pub weight_clamp: i32,
    /// Whether channels are scaled to like ranges first.
    pub equalise: bool,
    /// Whether weights are rounded in view of what layers read.
    pub adaptive: bool,
    /// Whether the ranges of several methods compete for each activation, by what they do to the network's results.
    pub refine: bool,
    /// Whether biases make up for mean errors.
    pub bias: bool,
    /// How many layers stay in float.
    pub float_fallback: usize,
    /// Names of nodes that stay in float.
    pub skip: Vec<String>,
    /// What the graph is for.
    pub style: Style,
}

impl Recipe {
    /// What `config` asks for. Without a method for activations, everything that is not named is the best that is known here; with one, only what is
    /// named is done, so that MNN's configurations mean what they mean in MNN.
    pub fn of(config: &Config, style: Style) -> Recipe {
        let best = config.feature_quantize_method.is_none();
        let method = match config.feature_quantize_method {
            Some(FeatureMethod::Kl) => Method::Kl,
            Some(FeatureMethod::Admm) => Method::Admm,
            Some(FeatureMethod::Ema) => Method::Ema { batch: config.batch_size.unwrap_or(BATCH) },
            Some(FeatureMethod::MinMax) => Method::MinMax,
            Some(FeatureMethod::Percentile) => Method::Percentile(config.percentile / 100.0),
            Some(FeatureMethod::Mse) => Method::Power(2.0),
            None => Method::Power(POWER),
        };
        let symmetric = matches!(method, Method::Kl | Method::Admm);
        let asymmetric = !symmetric && config.asymmetric.unwrap_or(true);
        let weights =
            config.weight_quantize_method.unwrap_or(if best { WeightMethod::Mse } else { WeightMethod::MaxAbs });
        let named_weights = config.weight_quantize_method.is_some();
        Recipe {
            activations: Spec { method, asymmetric, clamp: config.feature_clamp() },
            weights,
            weight_bits: config.quant_bits,
            weight_clamp: config.weight_clamp(),
            equalise: config.cross_layer_equalization.unwrap_or(best),
            adaptive: config.adaptive_rounding.unwrap_or(best && !named_weights),
            refine: best,
            bias: config.bias_correction.unwrap_or(best),
            float_fallback: config.float_fallback,
            skip: config.skip_quant_op_names.clone(),
            style,
        }
    }

    /// That scheme for the weights of these nodes.
    pub(super) fn policy(&self, g: &Graph, nodes: &[NodeId]) -> weight::Policy {
        let chosen = weight::sites(g).into_iter().filter(|site| nodes.contains(&site.node));
        let entry = |site: weight::Site| weight::Entry { name: site.name, shape: None, weights: self.scheme() };
        weight::Policy { ops: chosen.map(entry).collect() }
    }

    /// The scheme of every weight that is quantised.
    pub fn scheme(&self) -> weight::Scheme {
        let method = match self.weights {
            WeightMethod::MaxAbs => weight::Method::MinMax,
            WeightMethod::Admm | WeightMethod::Mse => weight::Method::Mse,
        };
        weight::Scheme { method, ..weight::Scheme::symmetric(self.weight_bits) }
    }
}
