//! Attributes of nodes: small compile-time parameters.

use crate::dtype::DType;

/// The value of an attribute.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the variants say what they hold")]
pub enum Attr {
    Int(i64),
    Float(f32),
    Bool(bool),
    Str(String),
    DType(DType),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Strs(Vec<String>),
}

/// The kind of an attribute's value.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the variants mirror Attr")]
pub enum AttrKind {
    Int,
    Float,
    Bool,
    Str,
    DType,
    Ints,
    Floats,
    Strs,
}

impl Attr {
    /// The kind of this value.
    pub fn kind(&self) -> AttrKind {
        match self {
            Attr::Int(_) => AttrKind::Int,
            Attr::Float(_) => AttrKind::Float,
            Attr::Bool(_) => AttrKind::Bool,
            Attr::Str(_) => AttrKind::Str,
            Attr::DType(_) => AttrKind::DType,
            Attr::Ints(_) => AttrKind::Ints,
            Attr::Floats(_) => AttrKind::Floats,
            Attr::Strs(_) => AttrKind::Strs,
        }
    }
}

/// A default that can stand in a `static` declaration.
#[derive(Copy, Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the variants mirror Attr")]
pub enum AttrDefault {
    Int(i64),
    Float(f32),
    Bool(bool),
    Str(&'static str),
    DType(DType),
    Ints(&'static [i64]),
    Floats(&'static [f32]),
}

impl From<AttrDefault> for Attr {
    fn from(d: AttrDefault) -> Attr {
        match d {
            AttrDefault::Int(x) => Attr::Int(x),
            AttrDefault::Float(x) => Attr::Float(x),
            AttrDefault::Bool(x) => Attr::Bool(x),
            AttrDefault::Str(x) => Attr::Str(x.to_string()),
            AttrDefault::DType(x) => Attr::DType(x),
            AttrDefault::Ints(x) => Attr::Ints(x.to_vec()),
            AttrDefault::Floats(x) => Attr::Floats(x.to_vec()),
        }
    }
}

macro_rules! attr_from {
    ($($t:ty => $v:ident),*) => { $(impl From<$t> for Attr { fn from(x: $t) -> Attr { Attr::$v(x) } })* };
}
attr_from!(i64 => Int, f32 => Float, bool => Bool, String => Str, DType => DType, Vec<i64> => Ints,
           Vec<f32> => Floats, Vec<String> => Strs);

impl From<&str> for Attr {
    fn from(x: &str) -> Attr {
        Attr::Str(x.to_string())
    }
}

/// The attributes of one node, sorted by name. Names are those of the op's declaration. Values equal to
/// the declared default may be absent.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Attrs(Vec<(&'static str, Attr)>);

impl Attrs {
    /// No attributes.
    pub fn new() -> Attrs {
        Attrs::default()
    }
    /// Builder-style [`set`](Self::set).
    pub fn with(mut self, name: &'static str, value: impl Into<Attr>) -> Attrs {
        self.set(name, value);
        self
    }
    /// Sets or replaces an attribute.
    pub fn set(&mut self, name: &'static str, value: impl Into<Attr>) {
        let value = value.into();
        match self.0.binary_search_by_key(&name, |(n, _)| n) {
            Ok(i) => self.0[i].1 = value,
            Err(i) => self.0.insert(i, (name, value)),
        }
    }
    /// The explicit value, if set.
    pub fn get(&self, name: &str) -> Option<&Attr> {
        self.0.binary_search_by_key(&name, |(n, _)| n).ok().map(|i| &self.0[i].1)
    }
    /// Removes an attribute.
    pub fn remove(&mut self, name: &str) -> Option<Attr> {
        self.0.binary_search_by_key(&name, |(n, _)| n).ok().map(|i| self.0.remove(i).1)
    }
    /// Names and values in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Attr)> {
        self.0.iter().map(|(n, v)| (*n, v))
    }
    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
