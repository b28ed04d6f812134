//! Before cluster DNS is led to other resolvers: which names are asked on both paths, and which of them would get worse.
//!
//! Both paths are those of the canaries, one with the present text and one with the candidate. So whatever a server block,
//! a `forward` of one zone, `hosts` or `rewrite` answers today is compared with what it will answer, and nothing has to be
//! known about them here.
//!
//! [`questions`] makes the list: what the policy names, where Services of type `ExternalName` lead, and what was lately
//! asked for ([`Sources::seen`]). [`worse`] compares. Both are bounded, and order never changes what they say.

mod judge;
mod questions;
#[cfg(test)]
mod tests;

pub use judge::{Demand, Worse, told, worse};
pub use questions::{Asked, Family, MOST, Question, Sources, local_zones, probes, questions};
