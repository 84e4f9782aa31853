//! What the trials found.

use super::Measured;
use crate::weight::Policy;

/// One trial of the whole network.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// What was tried.
    pub policy: Policy,
    /// What came of it.
    pub measured: Measured,
}

/// Every trial, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frontier {
    /// All of them.
    pub points: Vec<Point>,
}

impl Frontier {
    /// Those that no other beats in both cost (see [`Measured::cost`]) and error, the cheapest first.
    pub fn best(&self) -> Vec<&Point> {
        let mut points: Vec<&Point> = self.points.iter().filter(|p| p.measured.error.is_finite()).collect();
        points.sort_by(|a, b| {
            let (a, b) = (&a.measured, &b.measured);
            a.cost().total_cmp(&b.cost()).then(a.error.total_cmp(&b.error))
        });
        let mut kept: Vec<&Point> = Vec::new();
        for p in points {
            if kept.last().is_none_or(|k| p.measured.error < k.measured.error) {
                kept.push(p);
            }
        }
        kept
    }
}
