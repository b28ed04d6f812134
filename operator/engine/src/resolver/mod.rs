//! `ResolverPolicy`: what was observed → what is true of it → what should be done → what to say.
//!
//! Every function here is pure. The driver in the controller reads the cluster, calls these in order, and carries out
//! the one step that [`rollout::next`] names.

pub mod check;
pub mod confirm;
mod desired;
pub mod plan;
pub mod record;
pub mod rollout;
pub mod status;
pub mod watch;

#[cfg(test)]
mod tests;

pub use check::{Checked, check};
pub use plan::{Change, Plan, Planned, plan};
pub use record::Record;
