//! Axis parameters: negative values count from the back.

use mnnc_ir::OpError;

/// `axis` as an index below `rank`.
pub fn normalize_axis(axis: i64, rank: usize) -> Result<usize, OpError> {
    let r = rank as i64;
    if (-r..r).contains(&axis) {
        return Ok((if axis < 0 { axis + r } else { axis }) as usize);
    }
    Err(match rank {
        0 => OpError::invalid(format!("axis {axis} given for a scalar")),
        _ => OpError::invalid(format!("axis {axis} is not in {}..={} for rank {rank}", -r, r - 1)),
    })
}

/// `axis` as a position between dimensions, at most `rank`.
pub fn normalize_split(axis: i64, rank: usize) -> Result<usize, OpError> {
    let r = rank as i64;
    if (-r..=r).contains(&axis) {
        return Ok((if axis < 0 { axis + r } else { axis }) as usize);
    }
    Err(OpError::invalid(format!("axis {axis} is not in {}..={r} for rank {rank}", -r)))
}

/// Distinct axes as indices below `rank`, in the order given.
pub fn normalize_axes(axes: &[i64], rank: usize) -> Result<Vec<usize>, OpError> {
    if axes.len() > rank {
        return Err(OpError::invalid(format!("{} axes given for rank {rank}", axes.len())));
    }
    let mut out = Vec::with_capacity(axes.len());
    for &a in axes {
        let i = normalize_axis(a, rank)?;
        if out.contains(&i) {
            return Err(OpError::invalid(format!("axis {a} is given twice")));
        }
        out.push(i);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_axes_count_from_the_back() {
        assert_eq!(normalize_axes(&[-1, 0], 3), Ok(vec![2, 0]));
        assert_eq!(normalize_split(3, 3), Ok(3));
        for bad in [i64::MIN, -4, 3, i64::MAX] {
            assert!(normalize_axis(bad, 3).is_err());
        }
        assert!(normalize_axes(&[1, -2], 3).is_err(), "the same axis twice");
        assert!(normalize_axis(0, 0).is_err());
    }
}
