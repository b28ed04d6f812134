//! Merging our `acl` with foreign ones so that nothing gets looser: a query passes only if both let it pass.
//!
//! Foreign bytes stay. Ours comes last and decides what the foreign rules leave open. A foreign `allow` ends the
//! evaluation, so what it would let through beyond our ranges is denied by a guard in front. Addresses that the
//! foreign rules deny for every type and name are left to them. A foreign denial limited to some types or names
//! may be answered by the guard's denial instead.

use crate::coredns::acl::{Action, Policy, Rule, Types};
use crate::coredns::addresses::AddressSet;
use ipnet::IpNet;

/// What the foreign rules of a block are known to do.
pub(crate) struct Foreign<'a> {
    pub(crate) rules: &'a [Rule],
    /// Whether there may be more rules, in files that cannot be read.
    pub(crate) opaque: bool,
}

/// What we want: only these ranges, and what the others get.
pub(crate) struct Ours<'a> {
    pub(crate) allow: &'a [IpNet],
    pub(crate) denial: Action,
    pub(crate) any_empty: bool,
}

impl Foreign<'_> {
    /// Policies of the guard; empty if none is needed.
    pub(crate) fn guard(&self, ours: &Ours<'_>) -> Vec<Policy> {
        let inside = AddressSet::of(ours.allow);
        let outside = self.may_allow(None).minus(&inside);
        let insiders_any = if ours.any_empty {
            self.may_allow(Some(ANY)).intersect(&inside)
        } else {
            AddressSet::default()
        };
        let mut guard = Vec::new();
        if !outside.is_empty() {
            guard.push(policy(ours.denial, Types::All, Some(outside.to_nets())));
        }
        if !insiders_any.is_empty() {
            guard.push(policy(Action::Filter, only_any(), Some(insiders_any.to_nets())));
        }
        guard
    }

    /// At least the addresses that an `allow` lets through for this type; without a type, for any type.
    fn may_allow(&self, query_type: Option<&str>) -> AddressSet {
        if self.opaque {
            return AddressSet::all();
        }
        let (mut allowed, mut denied) = (AddressSet::default(), AddressSet::default());
        for rule in self.rules {
            for policy in &rule.policies {
                let fits = query_type.is_none_or(|name| policy.types.contain(name)) || !policy.certain;
                let fits_all =
                    policy.types == Types::All || query_type.is_some_and(|name| policy.types.contain(name));
                match policy.action {
                    Action::Allow if fits => allowed = allowed.union(&policy.addresses().minus(&denied)),
                    Action::Allow => {}
                    Action::Block | Action::Drop | Action::Filter => {
                        if rule.covers_block() && policy.certain && fits_all {
                            denied = denied.union(&policy.addresses());
                        }
                    }
                }
            }
        }
        allowed
    }
}

/// Our rules as they stand without, or behind, foreign ones.
pub(crate) fn tail(ours: &Ours<'_>) -> Vec<Policy> {
    let mut policies = Vec::new();
    if ours.any_empty {
        policies.push(policy(Action::Filter, only_any(), Some(ours.allow.to_vec())));
    }
    policies.push(policy(Action::Allow, Types::All, Some(ours.allow.to_vec())));
    policies.push(policy(ours.denial, Types::All, None));
    policies
}

/// Our rules without an `allow`: right wherever they stand, as long as no foreign `allow` precedes them.
pub(crate) fn denials_only(ours: &Ours<'_>) -> Vec<Policy> {
    let everything = Foreign {
        rules: &[],
        opaque: true,
    };
    everything.guard(ours)
}

/// An `acl` directive as lines with their depth.
pub(crate) fn lines(policies: &[Policy]) -> Vec<(usize, String)> {
    let body = policies.iter().map(|policy| (1, policy.to_string()));
    [(0, "acl {".to_owned())]
        .into_iter()
        .chain(body)
        .chain([(0, "}".to_owned())])
        .collect()
}

const ANY: &str = "ANY";

fn only_any() -> Types {
    Types::Only([ANY.to_owned()].into())
}

fn policy(action: Action, types: Types, nets: Option<Vec<IpNet>>) -> Policy {
    Policy {
        action,
        types,
        nets,
        certain: true,
    }
}
