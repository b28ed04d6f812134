//! Ingress protection: which limits hold where, and by whose policy.

pub mod effective;

pub use effective::{Choice, Policy, PolicyName, Reference, Surface, TargetKind, effective};

#[cfg(test)]
mod effective_tests;
