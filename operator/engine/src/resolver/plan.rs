//! What should be done: a value that can be printed, compared and tested. Nothing is decided later.

use tsutsumi_api::{conditions::Reason, resolver_policy::OnDelete};
use tsutsumi_providers::coredns::{
    self as coredns, BlockIdentity, Desired, Hardened, Made, Ownership, custom,
    nsid::Shown,
    version::{Capabilities, CoreDnsVersion},
};

use super::{
    check::Checked,
    desired::{desired, leads_elsewhere, led},
    record::Record,
};
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
    /// Whether names that the cluster does not know would be led to servers to which we did not lead them before.
    pub leads_elsewhere: bool,
    /// To whom the candidate leads the root, in words that tell one from another; none where to nobody of ours.
    pub led: Option<String>,
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
    if checked.only_untaps() {
        return untap(checked, target, record);
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
    let present_is_ours = || coredns::shown_by(&present).is_ok_and(|blocks| shows_ours(&blocks));
    let missing = checked.managed.missing().filter(|_| checked.enforces());
    if let Some(missing @ Missing { reason, message }) = &missing
        && missing.ends_by_itself()
        && !present_is_ours()
        && checked.tap.is_none()
    {
        // One change instead of two. A text of ours is never held back: its list of clients must follow the cluster. Nor is
        // anything while somebody has to act: clients outside are not answered for so long.
        return blocked(*reason, message.clone(), warnings);
    }
    if !checked.enforces() {
        warnings.extend(would_run(&checked.managed));
    }
    let desired = desired(checked, target, record);
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
    let identity = shows_ours(&identity.blocks).then(|| identity.ours.to_string());
    let led = led(checked, record);
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
            leads_elsewhere: led != record.led && leads_elsewhere(&changes),
            led,
            lines: changes.iter().map(line).collect(),
        }))
    };
    Planned {
        plan,
        warnings,
        missing: missing.or_else(|| checked.managed.exposed().filter(|_| checked.enforces())),
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
        // The way back is never held up.
        leads_elsewhere: false,
        led: None,
    };
    Planned {
        plan: Plan::Replace(Box::new(change)),
        warnings,
        missing: None,
    }
}

/// Takes out the line that tells what is asked, and leaves everything else as it is.
fn untap(checked: &Checked, target: &Target, record: &Record) -> Planned {
    let planned = |plan| Planned {
        plan,
        warnings: Vec::new(),
        missing: None,
    };
    let (slot, present) = match slot(checked, target) {
        Ok(slot) => slot,
        Err((reason, message)) => return planned(Plan::Blocked { reason, message }),
    };
    // Of all wishes, only this one takes something out where it is not set.
    let ownership = record.ownership_of(&present);
    match coredns::harden(&present, &Desired::default(), ownership, &capabilities(target)) {
        Ok(made) => planned(Plan::Replace(Box::new(Change {
            slot,
            present,
            identity: Some(made.identity.ours.to_string()),
            lines: made.changes.iter().map(line).collect(),
            candidate: made.text,
            ownership: made.ownership,
            present_is_ours: true,
            leads_elsewhere: false,
            led: record.led.clone(),
        }))),
        Err(error) => planned(Plan::Blocked {
            reason: Reason::CorefileInvalid,
            message: chain(&error),
        }),
    }
}

/// Whether the present text tells somebody of ours what is asked.
#[must_use]
pub fn is_tapped(checked: &Checked, record: &Record) -> bool {
    let Ok(target) = &checked.target else { return false };
    // A file that a platform imports never has the line.
    !matches!(target.channel, Channel::Custom { .. })
        && slot(checked, target).is_ok_and(|(_, present)| {
            coredns::taps(&present, record.ownership_of(&present)).unwrap_or_default()
        })
}

/// Whether the text that is planned, or the present one where that stays, tells what is asked.
#[must_use]
pub fn with_line(planned: &Planned, tapped: bool) -> bool {
    match &planned.plan {
        Plan::Replace(change) => coredns::taps(&change.candidate, &change.ownership).unwrap_or_default(),
        Plan::InForce { .. } => tapped,
        Plan::Blocked { .. } => false,
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

fn capabilities(target: &Target) -> Capabilities {
    let version: Option<CoreDnsVersion> = target.image_version.as_deref().and_then(|tag| tag.parse().ok());
    version.map_or_else(Capabilities::unknown, Capabilities::of)
}

/// Whether a server block of the text answers with an identity of ours.
fn shows_ours(blocks: &[BlockIdentity]) -> bool {
    blocks
        .iter()
        .any(|block| matches!(block.shows, Some(Shown::Ours(_))))
}

/// One change as a person reads it.
fn line(change: &coredns::Change) -> String {
    let made = match change.made {
        Made::Added => "add",
        Made::Lost => "no longer as written",
        Made::Moved => "move",
        Made::Removed => "remove",
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
