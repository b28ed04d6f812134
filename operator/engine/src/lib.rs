//! From what was observed to what should be done: checks and plans, pure.
//!
//! Nothing here waits, reads a clock or opens a socket: objects of the cluster and results of probes come in as
//! values, facts, plans and statuses go out as values, so every decision can be tested without a cluster and shown
//! by the command line.

pub mod around;
pub mod cluster;
pub mod exposure;
pub mod ingress;
pub mod managed;
pub mod platform;
pub mod ranges;
pub mod resolver;
pub mod switch;
pub mod target;
#[cfg(test)]
mod testing;
pub mod verify;

/// The label, and its value, by which objects of ours say whose they are.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "tsutsumi");
