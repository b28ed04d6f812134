//! The custom resources of `tsutsumi.dev/v1alpha1`, one file per kind.
//!
//! A field is described, bounded and given its unit here and nowhere else: the CRD in `crds/`, the reference page and
//! the parser all come from these declarations. Accessors are trivial; decisions live in the engine.

pub mod conditions;
pub mod crds;
pub mod ingress_protection;
#[cfg(test)]
mod reference;
pub mod resolver_policy;
pub mod values;

pub use resolver_policy::{ResolverPolicy, ResolverPolicySpec, ResolverPolicyStatus};

/// The API group of every kind.
pub const GROUP: &str = "tsutsumi.dev";
