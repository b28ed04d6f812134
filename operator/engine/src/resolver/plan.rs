//! What should be done: a value that can be printed, compared and tested. Nothing is decided later.

use tsutsumi_api::{
    conditions::Reason,
    resolver_policy::{AnyQueries, OnDelete, Others, SourcePorts, Via},
};
use tsutsumi_providers::coredns::{
    self as coredns, Clients, Desired, ForwardHardening, Hardened, Identity, Others as Refusal, Ownership,
    Probe, Root,
    bufsize::MessageBytes,
    custom,
    nsid::Shown,
    version::{Capabilities, CoreDnsVersion},
};

use super::{check::Checked, record::Record};
use crate::{
    managed::{Managed, Missing},
    platform::Channel,
    target::Target,
};

/// The place in the cluster that holds the text we may write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Slot {
    /// The ConfigMap's namespace.
    pub namespace: String,
    /// The ConfigMap's name.
    pub config_map: String,
    /// The key within.
    pub key: String,
}

/// A text that should replace the present one.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Where.
    pub slot: Slot,
    /// What stands there; empty where the key is missing.
    pub present: String,
    /// What should stand there.
    pub candidate: String,
    /// What a pod answers as NSID once it runs the candidate; none for a text that goes back to being foreign.
    pub identity: Option<String>,
    /// Which directives will be ours.
    pub ownership: Ownership,
    /// What changes, one line each, for people.
    pub lines: Vec<String>,
    /// Whether the present text carries an identity of ours.
    pub present_is_ours: bool,
}

impl Change {
    /// The name of the change in the status: its identity, or that it restores.
    #[must_use]
    pub fn label(&self) -> &str {
        self.identity.as_deref().unwrap_or("restore")
    }
}

/// What should be done for one policy.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Nothing can or may be written; the reason and what a person can do.
    Blocked {
        /// For a program.
        reason: Reason,
        /// For a person.
        message: String,
    },
    /// The text in the slot is what the policy asks for.
    InForce {
        /// Where it stands.
        slot: Slot,
        /// What every pod must answer as NSID; none where nothing of ours is in the text.
        identity: Option<String>,
    },
    /// The text in the slot should be replaced.
    Replace(Box<Change>),
}

/// A plan with what a person should know beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// Limits of the platform, directives left alone, the next upgrade.
    pub warnings: Vec<String>,
    /// Why whom cluster DNS asks is not yet what the policy wants; everything else is planned all the same.
    pub missing: Option<Missing>,
}

impl Planned {
    /// The plan of a controller that was installed without the right to write.
    #[must_use]
    pub fn held_back(self) -> Self {
        let Plan::Replace(change) = &self.plan else {
            return self;
        };
        let message = format!(
            "{} changes are held back, because tsutsumi was installed without the right to write: set \
             `enforce.enabled=true` in the chart's values",
            change.lines.len()
        );
        Self {
            plan: Plan::Blocked {
                reason: Reason::Unsupported,
                message,
            },
            warnings: self.warnings,
            missing: self.missing,
        }
    }
}

/// Plans what the policy asks for, or, once it is being deleted with `onDelete: Restore`, the way back.
#[must_use]
pub fn plan(checked: &Checked, record: &Record) -> Planned {
    let blocked = |reason, message| Planned {
        plan: Plan::Blocked { reason, message },
        warnings: Vec::new(),
        missing: None,
    };
    let target = match &checked.target {
        Ok(target) => target,
        Err(error) => return blocked(Reason::TargetNotFound, error.to_string()),
    };
    if let Some(holder) = &checked.conflict {
        return blocked(
            Reason::Conflicted,
            format!("ResolverPolicy {holder} is older and holds the same target; delete one of the two"),
        );
    }
    if checked.policy.metadata.deletion_timestamp.is_some() {
        return way_back(checked, target, record);
    }
    forward(checked, target, record)
}

fn forward(checked: &Checked, target: &Target, record: &Record) -> Planned {
    let mut warnings = target.warnings.clone();
    let blocked = |reason, message, warnings| Planned {
        plan: Plan::Blocked { reason, message },
        warnings,
        missing: None,
    };
    let (slot, present) = match slot(checked, target) {
        Ok(slot) => slot,
        Err((reason, message)) => return blocked(reason, message, warnings),
    };
    if let Some(missed) = checked.allow.as_ref().and_then(|allow| allow.locked_out.first()) {
        let message = format!(
            "{} has the address {}, which none of the served networks holds; add its network to `clients.cidrs`, \
             or `Cluster` to `clients.include`",
            missed.object, missed.address
        );
        return blocked(Reason::LockOut, message, warnings);
    }
    let present_is_ours = || coredns::identity_of(&present).is_ok_and(|identity| shows_ours(&identity));
    let missing = checked.managed.missing().filter(|_| checked.enforces());
    if let Some(Missing { reason, message }) = &missing
        && !present_is_ours()
    {
        // One change instead of two. A text of ours is never held back: its list of clients must follow the cluster.
        return blocked(*reason, message.clone(), warnings);
    }
    if !checked.enforces() {
        warnings.extend(would_run(&checked.managed));
    }
    let desired = desired(checked);
    let capabilities = capabilities(target);
    let hardened = match &target.channel {
        Channel::Custom { .. } => {
            let place = custom::Channel {
                corefile: target.corefile.as_deref().unwrap_or_default(),
                name: &slot.key,
                others: &checked.custom.others,
                present: checked.custom.ours.as_deref(),
            };
            custom::harden_override(&place, &desired, &capabilities)
        }
        _ => coredns::harden(&present, &desired, record.ownership_of(&present), &capabilities),
    };
    let Hardened {
        text,
        identity,
        changes,
        ownership,
        notes,
    } = match hardened {
        Ok(hardened) => hardened,
        Err(error) => return blocked(Reason::CorefileInvalid, chain(&error), warnings),
    };
    warnings.extend(notes.iter().map(ToString::to_string));
    let identity = shows_ours(&identity).then(|| identity.ours.to_string());
    let plan = if text == present {
        Plan::InForce { slot, identity }
    } else {
        Plan::Replace(Box::new(Change {
            slot,
            present_is_ours: present_is_ours(),
            present,
            candidate: text,
            identity,
            ownership,
            lines: changes.iter().map(line).collect(),
        }))
    };
    Planned {
        plan,
        warnings,
        missing,
    }
}

fn way_back(checked: &Checked, target: &Target, record: &Record) -> Planned {
    let warnings = Vec::new();
    let in_force = |slot| Planned {
        plan: Plan::InForce { slot, identity: None },
        warnings: Vec::new(),
        missing: None,
    };
    let (slot, present) = match slot(checked, target) {
        Ok(slot) => slot,
        Err((reason, message)) => {
            return Planned {
                plan: Plan::Blocked { reason, message },
                warnings,
                missing: None,
            };
        }
    };
    if checked.policy.spec.on_delete == OnDelete::Keep {
        return in_force(slot);
    }
    let restored = match &target.channel {
        // The whole key is ours.
        Channel::Custom { .. } => Ok((String::new(), vec![format!("{}: remove everything", slot.key)])),
        _ => coredns::restore(&present, record.ownership_of(&present))
            .map(|restored| (restored.text, restored.removed.iter().map(line).collect())),
    };
    let (candidate, lines) = match restored {
        Ok(restored) => restored,
        Err(error) => {
            let plan = Plan::Blocked {
                reason: Reason::CorefileInvalid,
                message: chain(&error),
            };
            return Planned {
                plan,
                warnings,
                missing: None,
            };
        }
    };
    if candidate == present {
        return in_force(slot);
    }
    let change = Change {
        slot,
        present,
        candidate,
        identity: None,
        ownership: Ownership::default(),
        lines,
        present_is_ours: true,
    };
    Planned {
        plan: Plan::Replace(Box::new(change)),
        warnings,
        missing: None,
    }
}

/// Where we may write, and what stands there.
fn slot(checked: &Checked, target: &Target) -> Result<(Slot, String), (Reason, String)> {
    let unsupported = |message| Err((Reason::Unsupported, message));
    match &target.channel {
        Channel::AuditOnly { reason, advice } => return unsupported(format!("{reason}; {advice}")),
        Channel::Custom {
            namespace,
            config_map,
            exists: false,
            ..
        } => {
            return unsupported(format!(
                "the ConfigMap {namespace}/{config_map} is not there; create it empty with \
                 `kubectl -n {namespace} create configmap {config_map}`"
            ));
        }
        Channel::Custom { .. } | Channel::WholeCorefile => {}
    }
    if let Some(blocker) = &target.template.canary_blocker {
        return unsupported(format!(
            "the Corefile cannot be tried in a canary first: {blocker}"
        ));
    }
    match (&target.channel, &target.config_map, &target.corefile) {
        (
            Channel::Custom {
                namespace,
                config_map,
                override_key,
                ..
            },
            ..,
        ) => {
            let slot = Slot {
                namespace: namespace.clone(),
                config_map: config_map.clone(),
                key: override_key.clone(),
            };
            Ok((slot, checked.custom.ours.clone().unwrap_or_default()))
        }
        (_, Some(source), Some(corefile)) => {
            let slot = Slot {
                namespace: source.namespace.clone(),
                config_map: source.config_map.clone(),
                key: source.key.clone(),
            };
            Ok((slot, corefile.clone()))
        }
        _ => unsupported("the Corefile is not in a ConfigMap".to_owned()),
    }
}

/// What `Audit` says of a managed resolver.
fn would_run(managed: &Managed) -> Option<String> {
    match managed {
        Managed::Unwanted(_) => None,
        Managed::Refused { message, .. } => Some(message.clone()),
        Managed::Wanted(wanted) => {
            let name = wanted.objects.deployment.metadata.name.as_deref();
            Some(format!(
                "Enforce would also run Unbound as Deployment {}, and lead the root's `forward` to it once it serves",
                name.unwrap_or_default()
            ))
        }
    }
}

fn desired(checked: &Checked) -> Desired {
    let spec = &checked.policy.spec;
    let others = match spec.clients.as_ref().map(|clients| clients.others) {
        Some(Others::Drop) => Refusal::Drop,
        _ => Refusal::Refuse,
    };
    Desired {
        clients: checked.allow.as_ref().map(|allow| Clients {
            allow: allow.nets.clone(),
            others,
        }),
        max_message_bytes: spec
            .udp
            .and_then(|udp| MessageBytes::new(udp.max_message_bytes).ok()),
        any_empty: spec.any_queries == Some(AnyQueries::Empty),
        forward: spec
            .recursion
            .as_ref()
            .map(|recursion| match recursion.source_ports {
                SourcePorts::Random => ForwardHardening {
                    fresh_ports: true,
                    ..ForwardHardening::default()
                },
            }),
        probe: match &checked.managed {
            // It asks the zone's server itself, and so the zone sees how it asks.
            Managed::Wanted(wanted) if wanted.serving.is_ok() && wanted.knows_probe_zone => {
                Some(Probe::Nowhere)
            }
            // Whoever is asked at present, what leads there stays.
            Managed::Wanted(wanted) if wanted.serving.is_err() => None,
            Managed::Refused { .. } => None,
            Managed::Wanted(_) | Managed::Unwanted(_) => checked.probe.clone(),
        },
        root: spec.recursion.as_ref().and_then(|recursion| match recursion.via {
            None => Some(Root::AsItIs),
            Some(Via::Upstreams) => {
                let servers = recursion.upstreams.iter().map(|upstream| upstream.get());
                Some(Root::Servers(servers.collect()))
            }
            // Until it serves, what stands there stays.
            Some(Via::Managed) => Some(Root::Servers(vec![checked.managed.server()?])),
        }),
    }
}

fn capabilities(target: &Target) -> Capabilities {
    let version: Option<CoreDnsVersion> = target.image_version.as_deref().and_then(|tag| tag.parse().ok());
    version.map_or_else(Capabilities::unknown, Capabilities::of)
}

/// Whether a server block of the text answers with an identity of ours.
fn shows_ours(identity: &Identity) -> bool {
    identity
        .blocks
        .iter()
        .any(|block| matches!(block.shows, Some(Shown::Ours(_))))
}

/// One change as a person reads it.
fn line(change: &coredns::Change) -> String {
    let made = match change.made {
        coredns::Made::Added => "add",
        coredns::Made::Lost => "no longer as written",
        coredns::Made::Moved => "move",
        coredns::Made::Removed => "remove",
    };
    // A file that is imported has no server block of its own.
    let place = if change.block.is_empty() {
        String::new()
    } else {
        format!("{}: ", change.block.join(" "))
    };
    format!("{place}{made} `{}`", change.text)
}

/// An error with its causes, for a person.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}
