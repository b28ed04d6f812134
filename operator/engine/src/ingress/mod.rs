//! Ingress protection: which limits hold where, by whose policy, and how a controller is told.

mod effective;
#[cfg(test)]
mod effective_tests;
mod envoy_gateway;
#[cfg(test)]
mod envoy_gateway_tests;
pub mod objects;
mod policy;

pub use effective::{Choice, Policy, PolicyName, Reference, Surface, effective};
pub use envoy_gateway::{Blocked, Said, render};
pub use policy::PolicyError;
pub use tsutsumi_api::ingress_protection::TargetKind;
