//! Dimensions: known sizes and interned symbolic expressions.

use crate::entity::{EntityId, PrimaryMap};
use std::collections::HashMap;
use std::sync::Arc;

crate::entity_id! {
    /// An interned symbolic size.
    Sym, "s"
}

/// One extent of a shape.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Dim {
    /// Known at compile time.
    Const(u64),
    /// Known only by its expression; equal ids mean equal sizes.
    Sym(Sym),
}

impl Dim {
    /// The size, if known.
    pub fn known(self) -> Option<u64> {
        match self {
            Dim::Const(n) => Some(n),
            Dim::Sym(_) => None,
        }
    }
}

impl From<u64> for Dim {
    fn from(n: u64) -> Dim {
        Dim::Const(n)
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Dim {
        Dim::Const(n as u64)
    }
}

/// What a [`Sym`] stands for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum SymExpr {
    /// A named parameter of the model, such as `batch`.
    Named(String),
    /// A size that nothing is known about; every one differs from every other.
    Fresh(u32),
    /// Sum of two sizes.
    Add(Dim, Dim),
    /// Product of two sizes.
    Mul(Dim, Dim),
    /// Floor of the quotient of two sizes.
    Div(Dim, Dim),
}

/// An expression with more leaves than this becomes a fresh size: shapes that sum with themselves over and over would
/// otherwise be exponential when printed.
const MAX_EXPR_SIZE: u32 = 64;

/// The interner of symbolic sizes. Building an expression folds constants, so that an expression
/// is symbolic only when it must be. A clone shares the table until one of the two grows: patches infer types on a clone.
#[derive(Clone, Debug, Default)]
pub struct SymTable(Arc<Table>);

#[derive(Clone, Debug, Default)]
struct Table {
    exprs: PrimaryMap<Sym, SymExpr>,
    /// Number of leaves of each expression, so that text cannot explode.
    sizes: Vec<u32>,
    ids: HashMap<SymExpr, Sym>,
    fresh: u32,
}

impl SymTable {
    fn intern(&mut self, e: SymExpr) -> Dim {
        if let Some(&s) = self.0.ids.get(&e) {
            return Dim::Sym(s);
        }
        let size = match e {
            SymExpr::Named(_) | SymExpr::Fresh(_) => 1,
            SymExpr::Add(a, b) | SymExpr::Mul(a, b) | SymExpr::Div(a, b) => self.size(a) + self.size(b),
        };
        if size > MAX_EXPR_SIZE {
            return self.fresh();
        }
        let table = Arc::make_mut(&mut self.0);
        let s = table.exprs.push(e.clone());
        table.sizes.push(size);
        table.ids.insert(e, s);
        Dim::Sym(s)
    }
    fn size(&self, d: Dim) -> u32 {
        match d {
            Dim::Const(_) => 1,
            Dim::Sym(s) => self.0.sizes[s.index()],
        }
    }
    /// The unknown size number `i`, as the parser meets it.
    pub(crate) fn unknown(&mut self, i: u32) -> Dim {
        let table = Arc::make_mut(&mut self.0);
        table.fresh = table.fresh.max(i);
        self.intern(SymExpr::Fresh(i))
    }
    /// The size called `name`.
    pub fn named(&mut self, name: &str) -> Dim {
        self.intern(SymExpr::Named(name.to_string()))
    }
    /// A size different from all others.
    pub fn fresh(&mut self) -> Dim {
        let table = Arc::make_mut(&mut self.0);
        table.fresh += 1;
        let i = table.fresh;
        self.intern(SymExpr::Fresh(i))
    }
    /// `a + b`.
    pub fn add(&mut self, a: Dim, b: Dim) -> Dim {
        match (a, b) {
            (Dim::Const(x), Dim::Const(y)) => x.checked_add(y).map_or_else(|| self.fresh(), Dim::Const),
            (Dim::Const(0), d) | (d, Dim::Const(0)) => d,
            (Dim::Const(_), Dim::Sym(_)) => self.intern(SymExpr::Add(b, a)),
            _ => self.intern(SymExpr::Add(a, b)),
        }
    }
    /// `x` and `c` of a product `x * c` by a constant.
    fn scaled(&self, d: Dim) -> Option<(Dim, u64)> {
        match d {
            Dim::Sym(s) => match *self.expr(s) {
                SymExpr::Mul(x, Dim::Const(c)) => Some((x, c)),
                _ => None,
            },
            Dim::Const(_) => None,
        }
    }
    /// `a * b`.
    pub fn mul(&mut self, a: Dim, b: Dim) -> Dim {
        let (symbolic, other) = if a.known().is_some() { (b, a) } else { (a, b) };
        if let (Some((x, c)), Dim::Const(k)) = (self.scaled(symbolic), other)
            && k > 0
            && let Some(ck) = c.checked_mul(k)
        {
            return self.mul(x, Dim::Const(ck));
        }
        match (a, b) {
            (Dim::Const(x), Dim::Const(y)) => x.checked_mul(y).map_or_else(|| self.fresh(), Dim::Const),
            (Dim::Const(1), d) | (d, Dim::Const(1)) => d,
            (Dim::Const(0), _) | (_, Dim::Const(0)) => Dim::Const(0),
            (Dim::Const(_), Dim::Sym(_)) => self.intern(SymExpr::Mul(b, a)),
            _ => self.intern(SymExpr::Mul(a, b)),
        }
    }
    /// `floor(a / b)`; a fresh size if `b` is zero.
    pub fn div(&mut self, a: Dim, b: Dim) -> Dim {
        match (a, b) {
            (_, Dim::Const(0)) => self.fresh(),
            (d, Dim::Const(1)) => d,
            (Dim::Const(x), Dim::Const(y)) => Dim::Const(x / y),
            _ if a == b => Dim::Const(1),
            (_, Dim::Const(k)) => match self.scaled(a) {
                // Exact, so that what was multiplied in comes out again.
                Some((x, c)) if c % k == 0 => self.mul(x, Dim::Const(c / k)),
                _ => self.intern(SymExpr::Div(a, b)),
            },
            _ => self.intern(SymExpr::Div(a, b)),
        }
    }
    /// The expression behind a symbol.
    pub fn expr(&self, s: Sym) -> &SymExpr {
        &self.0.exprs[s]
    }
    /// Text of a dimension: `4`, `batch`, `"2 N"`, `?3`, `(batch*4)`. Parses back through the graph parser.
    pub fn show(&self, d: Dim) -> String {
        match d {
            Dim::Const(n) => n.to_string(),
            Dim::Sym(s) => match self.expr(s) {
                SymExpr::Named(n) => crate::text::ident(n),
                SymExpr::Fresh(i) => format!("?{i}"),
                SymExpr::Add(a, b) => format!("({}+{})", self.show(*a), self.show(*b)),
                SymExpr::Mul(a, b) => format!("({}*{})", self.show(*a), self.show(*b)),
                SymExpr::Div(a, b) => format!("({}/{})", self.show(*a), self.show(*b)),
            },
        }
    }
    /// Number of symbols.
    pub fn len(&self) -> usize {
        self.0.exprs.len()
    }
    /// Whether there is no symbol.
    pub fn is_empty(&self) -> bool {
        self.0.exprs.is_empty()
    }
    /// All symbols, a symbol after those it is built from.
    pub fn syms(&self) -> impl Iterator<Item = Sym> + use<> {
        (0..self.0.exprs.len()).map(Sym::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_stay_short() {
        let mut s = SymTable::default();
        let mut n = s.named("n");
        for _ in 0..100 {
            n = s.add(n, n);
        }
        assert!(s.show(n).len() < 1000);
    }

    #[test]
    fn products_by_constants_cancel() {
        let mut s = SymTable::default();
        let n = s.named("n");
        let twelve = s.mul(n, Dim::Const(12));
        assert_eq!(s.div(twelve, Dim::Const(12)), n);
        let six = s.mul(Dim::Const(6), n);
        assert_eq!(s.div(twelve, Dim::Const(2)), six);
        assert_eq!(s.mul(six, Dim::Const(2)), twelve);
        let floor = s.div(six, Dim::Const(4));
        assert_eq!(s.show(floor), "((n*6)/4)", "a floor is no fraction");
        assert_eq!(s.mul(six, Dim::Const(0)), Dim::Const(0));
    }
}
