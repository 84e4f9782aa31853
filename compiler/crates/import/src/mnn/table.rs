//! How ops of each type are read. The rows are in [`super::rows`], one family a file.

use super::op::{OpCx, Rows};
use super::rows;
use mnnc_schema::mnn::OpType;
use std::collections::HashMap;
use std::sync::OnceLock;

/// One type of op.
pub(crate) struct Row {
    pub(crate) ty: OpType,
    pub(crate) convert: fn(&mut OpCx) -> Rows,
}

/// A row.
pub(crate) const fn row(ty: OpType, convert: fn(&mut OpCx) -> Rows) -> Row {
    Row { ty, convert }
}

/// The row of a type.
pub(crate) fn find(ty: OpType) -> Option<&'static Row> {
    static TABLE: OnceLock<HashMap<i32, &'static Row>> = OnceLock::new();
    TABLE.get_or_init(|| rows::ALL.iter().copied().flatten().map(|r| (r.ty.0, r)).collect()).get(&ty.0).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_type_has_one_row() {
        let mut seen = HashSet::new();
        for row in rows::ALL.iter().copied().flatten() {
            assert!(seen.insert(row.ty.0), "{} has two rows", row.ty.variant_name().unwrap_or("?"));
        }
        assert!(find(OpType::Convolution).is_some() && find(OpType::Raster).is_none());
    }
}
