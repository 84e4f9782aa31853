//! Which nodes are lowered together.

use super::Job;
use crate::families::line_buffer;
use mnnc_vector::Target;

/// How a node is lowered.
#[derive(Copy, Clone)]
pub(super) enum Role {
    /// By itself.
    Alone,
    /// With a node that follows, or not at all.
    Inner,
    /// With those of its chain, whose last node it is.
    Last(line_buffer::Chain),
}

/// The role of every job, chains found.
pub(super) fn roles(jobs: &[Job], target: &Target) -> Vec<Role> {
    let candidates: Vec<_> = jobs
        .iter()
        .map(|j| line_buffer::Candidate { view: &j.view, family: j.family.map_or("", |f| f.name()) })
        .collect();
    let mut roles = vec![Role::Alone; jobs.len()];
    for c in line_buffer::find(&candidates, target) {
        c.nodes().for_each(|i| roles[i] = Role::Inner);
        roles[c.last()] = Role::Last(c);
    }
    roles
}
