//! Which weights become what: made by tools, edited by people, applied again.

use std::collections::HashMap;

use mnnc_ir::{Diagnostic, Graph};
use serde::{Deserialize, Serialize};

use super::site::{Site, sites};

/// How the integers of a weight are chosen.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The range of each row decides.
    MinMax,
    /// The scale (and zero point) with the least squared error of the weights.
    Mse,
    /// Half-quadratic splitting of an error that outliers weigh little in, after HQQ (Badri and Shaji 2023).
    Hqq,
    /// The least squared error of the layer's results, on calibration samples or on noise that stands for them. Of the weights, where the layer's
    /// inputs cannot be watched.
    #[default]
    Output,
}

/// How scales are stored.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScaleType {
    /// Single precision.
    #[default]
    Fp32,
    /// Half precision. A weight with a scale that half precision holds badly keeps single precision.
    Fp16,
}

/// What a weight becomes.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheme {
    /// Bits a weight: 0 stays as it is, 16 is half precision, 2 to 8 are integers.
    pub bits: u8,
    /// Whether every zero point is 0.
    #[serde(default = "yes")]
    pub symmetric: bool,
    /// Input channels that share a scale; 0 for all of an output channel.
    #[serde(default)]
    pub block: usize,
    /// How scales are stored.
    #[serde(default)]
    pub scales: ScaleType,
    /// How integers are chosen.
    #[serde(default)]
    pub method: Method,
}

fn yes() -> bool {
    true
}

impl Scheme {
    /// The weight stays as it is.
    pub const FLOAT: Scheme =
        Scheme { bits: 0, symmetric: true, block: 0, scales: ScaleType::Fp32, method: Method::Mse };
    /// Half precision.
    pub const HALF: Scheme = Scheme { bits: 16, ..Scheme::FLOAT };

    /// Symmetric integers of so many bits, one scale an output channel.
    pub fn symmetric(bits: u8) -> Scheme {
        Scheme { bits, ..Scheme::FLOAT }
    }
    /// Whether weights become integers.
    pub fn is_integer(&self) -> bool {
        (2..=8).contains(&self.bits)
    }
    /// The least and greatest code.
    pub fn code_range(&self) -> (i32, i32) {
        let half = 1 << (self.bits - 1);
        (-half, half - 1)
    }
    /// Bytes that `site` takes when stored so: packed integers, scales, and zero points of one byte.
    pub fn bytes(&self, site: &Site) -> u64 {
        let n = site.len() as u64;
        match self.bits {
            0 => 4 * n,
            16 => 2 * n,
            bits => {
                let block = if self.block == 0 { site.inputs } else { self.block };
                let rows = (site.outputs * site.inputs.div_ceil(block.max(1))) as u64;
                let scale = if self.scales == ScaleType::Fp16 { 2 } else { 4 };
                (n * u64::from(bits)).div_ceil(8) + rows * (scale + u64::from(!self.symmetric))
            }
        }
    }
}

/// The scheme of one op.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The op's name.
    pub name: String,
    /// Output channels, input channels of a group, extents of the window: to tell models apart, and for people. Not checked if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<usize>>,
    /// What its weights become.
    pub weights: Scheme,
}

impl Entry {
    /// The scheme of `site`, with its shape.
    pub fn new(site: &Site, weights: Scheme) -> Entry {
        Entry { name: site.name.clone(), shape: Some(shape(site)), weights }
    }
}

/// Schemes of the ops of one model. An op that is not listed keeps its weights.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    /// In the order of the network, where a tool wrote them.
    pub ops: Vec<Entry>,
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    version: u32,
    ops: Vec<Entry>,
}

/// What the field `format` says.
const FORMAT: &str = "mnnc policy";
/// Version of the format.
const VERSION: u32 = 1;

impl Policy {
    /// The JSON form, for people to edit.
    pub fn to_json(&self) -> String {
        let file = File { format: FORMAT.into(), version: VERSION, ops: self.ops.clone() };
        // Names, numbers and lists of them always have a JSON form.
        serde_json::to_string_pretty(&file).unwrap_or_default() + "\n"
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// It is not JSON, not a policy, of a later version, or says something that cannot be.
    pub fn from_json(text: &str) -> Result<Policy, Diagnostic> {
        let file: File = serde_json::from_str(text).map_err(|e| {
            Diagnostic::bad_input(format!("this is no policy: {e}")).remedy("see `mnnc compile --help`")
        })?;
        if file.format != FORMAT || file.version != VERSION {
            let message = format!("its format is `{}` version {}, not `{FORMAT}` {VERSION}", file.format, file.version);
            return Err(Diagnostic::bad_input(message));
        }
        let policy = Policy { ops: file.ops };
        policy.check()?;
        Ok(policy)
    }

    /// Refuses numbers that mean nothing.
    fn check(&self) -> Result<(), Diagnostic> {
        for entry in &self.ops {
            let scheme = &entry.weights;
            if !matches!(scheme.bits, 0 | 2..=8 | 16) {
                let message = format!("{} bits for a weight", scheme.bits);
                return Err(Diagnostic::bad_input(message)
                    .node(&entry.name)
                    .remedy("0 keeps it as it is, 16 is half precision, 2 to 8 are integers"));
            }
        }
        Ok(())
    }

    /// Each entry with the site that it is for.
    ///
    /// # Errors
    /// One failure that names every op that the graph lacks or has in another shape: the policy is of another model. An op listed twice,
    /// a number of bits or a block that cannot be.
    pub fn resolve<'a>(&'a self, g: &Graph) -> Result<Vec<(Site, &'a Scheme)>, Diagnostic> {
        self.check()?;
        let sites = sites(g);
        let by_name: HashMap<&str, usize> = sites.iter().enumerate().map(|(i, s)| (s.name.as_str(), i)).collect();
        let mut chosen: Vec<Option<&Scheme>> = vec![None; sites.len()];
        let mut strangers: Vec<String> = Vec::new();
        for entry in &self.ops {
            let found = by_name.get(entry.name.as_str()).copied();
            let found = found.or_else(|| sites.iter().position(|s| s.is_called(g, &entry.name)));
            let Some(i) = found else {
                strangers.push(format!("`{}`", entry.name));
                continue;
            };
            let (site, shape) = (&sites[i], shape(&sites[i]));
            if entry.shape.as_ref().is_some_and(|s| *s != shape) {
                let said = entry.shape.as_deref().unwrap_or_default();
                strangers.push(format!("`{}` ({said:?} there, {shape:?} here)", entry.name));
                continue;
            }
            let block = entry.weights.block;
            if entry.weights.is_integer() && block > 0 && site.inputs % block != 0 {
                return Err(Diagnostic::bad_input(format!(
                    "blocks of {block} do not divide {} input channels",
                    site.inputs
                ))
                .node(&entry.name)
                .op(g.node(site.node).op.name)
                .remedy("take a divisor, or 0 for one scale an output channel"));
            }
            if chosen[i].replace(&entry.weights).is_some() {
                return Err(Diagnostic::bad_input("the policy lists this op twice").node(&entry.name));
            }
        }
        if !strangers.is_empty() {
            const SHOWN: usize = 8;
            let more = strangers.len().saturating_sub(SHOWN);
            strangers.truncate(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            return Err(Diagnostic::bad_input(format!(
                "the policy is for another model: it lists {}{more}, which this model has no such weights for",
                strangers.join(", ")
            ))
            .remedy("write a policy for this model, or take these ops out"));
        }
        Ok(sites.into_iter().zip(chosen).filter_map(|(site, scheme)| Some((site, scheme?))).collect())
    }
}

/// What [`Entry::shape`] says of a site.
pub(super) fn shape(site: &Site) -> Vec<usize> {
    [&[site.outputs, site.inputs][..], &site.kernel].concat()
}
