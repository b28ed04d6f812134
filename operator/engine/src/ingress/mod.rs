//! Ingress protection: which limits hold where, by whose policy, and how a controller is told.

mod effective;
#[cfg(test)]
mod effective_tests;
pub mod objects;
mod policy;
mod render;
#[cfg(test)]
mod render_tests;

pub use effective::{Choice, Policy, PolicyName, Reference, Surface, TargetKind, effective};
pub use policy::PolicyError;
pub use render::{Blocked, Said, render};
