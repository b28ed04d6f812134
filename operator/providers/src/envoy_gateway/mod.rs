//! Envoy Gateway 1.9: limits as specs of its own kinds, for a policy of ours on one listener or one route.
//!
//! There a policy that is attached more narrowly takes the place of a wider one as a whole, and lists are replaced even
//! where `mergeType` merges the rest (both seen on 1.9.0). So what is in force is carried into ours, of two values of one
//! thing the stricter stands there, and rules are added to rules: nothing that somebody else limited gets looser.

mod backend_traffic;
mod client_traffic;
mod spec;

pub use backend_traffic::backend_traffic;
pub use client_traffic::client_traffic;
pub use spec::Unreadable;

use serde_json::{Map, Value};
use tsutsumi_model::Lever;

/// What a policy of ours is to say, without what it is attached to.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// The fields of `spec`; empty where nothing is to be said that is not in force already.
    pub spec: Map<String, Value>,
    /// What cannot be set here.
    pub unsupported: Vec<Unsupported>,
}

/// A lever that this controller does not have, or not as it was wished.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unsupported {
    /// The lever.
    pub lever: Lever,
    /// Why.
    pub why: &'static str,
    /// The nearest thing that the controller can do.
    pub nearest: &'static str,
}

/// Fields of a spec that say what it is attached to, and not what it does.
const ATTACHMENT: [&str; 4] = ["targetRef", "targetRefs", "targetSelectors", "mergeType"];

/// A spec that is in force, without what it is attached to.
fn carried(in_force: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut spec = in_force.cloned().unwrap_or_default();
    for field in ATTACHMENT {
        spec.remove(field);
    }
    spec
}

/// Nothing where a spec says no more than what is in force already.
fn unless_in_force(spec: Map<String, Value>, in_force: Option<&Map<String, Value>>) -> Map<String, Value> {
    if spec == carried(in_force) {
        Map::new()
    } else {
        spec
    }
}
