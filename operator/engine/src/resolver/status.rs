//! What to say of a policy: a pure fold over the status before, so that nothing is written without a change.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use tsutsumi_api::{
    conditions::{ConditionType, Reason},
    resolver_policy::{ControlStatus, ResolverPolicyStatus, Rollout, RolloutState, TargetStatus},
};
use tsutsumi_model::{ControlState, Verdict};

use super::{
    check::Checked,
    plan::{Plan, Planned},
};
use crate::{
    around::close::{Closing, Hindrance},
    managed::Missing,
    ranges::AllowList,
};

/// The newest round of probes.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// When it began.
    pub checked_at: Timestamp,
    /// Until when it counts.
    pub valid_until: Timestamp,
    /// The verdicts, each with the digest of its evidence.
    pub verdicts: Vec<(Verdict, String)>,
    /// The version that runs, where the pods told one.
    pub version: Option<String>,
    /// Whether it was asked after the change that is in force.
    pub of_this_change: bool,
}

impl Verified {
    /// How long the results still count; none once they no longer do.
    #[must_use]
    pub fn counts_for(&self, now: Timestamp) -> Option<std::time::Duration> {
        self.valid_until
            .duration_since(now)
            .try_into()
            .ok()
            .filter(|left: &std::time::Duration| !left.is_zero())
    }
}

/// Everything that the status is made of.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The policy beside what was found.
    pub checked: &'a Checked<'a>,
    /// What should be done.
    pub planned: &'a Planned,
    /// How far the change has come.
    pub rollout: Option<&'a Rollout>,
    /// The newest round of probes.
    pub verified: Option<&'a Verified>,
    /// Further warnings, for example the command that puts the old text back.
    pub warnings: Vec<String>,
    /// The time.
    pub now: Timestamp,
}

/// The status that follows from the inputs.
#[must_use]
pub fn status(inputs: &Inputs) -> ResolverPolicyStatus {
    let policy = inputs.checked.policy;
    let before = policy.status.as_ref();
    let generation = policy.metadata.generation;
    let accepted = accepted(inputs);
    let programmed = programmed(inputs);
    let verified = verified(inputs);
    let ready = ready(inputs, [&accepted, &programmed, &verified]);
    let stalled = stalled(inputs);
    let conditions = [accepted, programmed, verified, ready, stalled]
        .into_iter()
        .map(|finding| finding.into_condition(before, generation, inputs.now))
        .collect();
    ResolverPolicyStatus {
        observed_generation: generation,
        conditions,
        target: target(inputs),
        rollout: inputs.rollout.cloned(),
        clients: bounded(
            inputs.checked.allow.iter().flat_map(AllowList::told).collect(),
            64,
        ),
        plan: bounded(plan_lines(inputs), 64),
        warnings: bounded(
            inputs
                .planned
                .warnings
                .iter()
                .chain(&inputs.warnings)
                .cloned()
                .chain(hindrances(inputs))
                .collect(),
            32,
        ),
        controls: inputs.verified.map(controls).unwrap_or_default(),
        valid_until: inputs.verified.map(|verified| Time(verified.valid_until)),
    }
}

/// A condition before it has its times.
#[derive(Debug)]
struct Finding {
    type_: ConditionType,
    status: &'static str,
    reason: Reason,
    message: String,
}

const TRUE: &str = "True";
const FALSE: &str = "False";
const UNKNOWN: &str = "Unknown";

impl Finding {
    fn new(type_: ConditionType, status: &'static str, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            type_,
            status,
            reason,
            message: message.into(),
        }
    }

    /// Carries the transition time over while the status stays the same.
    fn into_condition(
        self,
        before: Option<&ResolverPolicyStatus>,
        generation: Option<i64>,
        now: Timestamp,
    ) -> Condition {
        let since = before
            .and_then(|status| {
                status
                    .conditions
                    .iter()
                    .find(|condition| condition.type_ == self.type_.as_str())
            })
            .filter(|condition| condition.status == self.status)
            .map_or(Time(now), |condition| condition.last_transition_time.clone());
        Condition {
            type_: self.type_.as_str().to_owned(),
            status: self.status.to_owned(),
            reason: self.reason.as_str().to_owned(),
            message: truncated(self.message, 2048),
            observed_generation: generation,
            last_transition_time: since,
        }
    }
}

fn accepted(inputs: &Inputs) -> Finding {
    let finding =
        |status, reason, message: String| Finding::new(ConditionType::Accepted, status, reason, message);
    match &inputs.planned.plan {
        Plan::Blocked {
            reason: reason @ (Reason::TargetNotFound | Reason::Conflicted),
            message,
        } => finding(FALSE, *reason, message.clone()),
        _ => finding(
            TRUE,
            Reason::Accepted,
            "the target was found and no other policy holds it".to_owned(),
        ),
    }
}

fn programmed(inputs: &Inputs) -> Finding {
    let finding =
        |status, reason, message: String| Finding::new(ConditionType::Programmed, status, reason, message);
    if let Plan::Blocked { reason, message } = &inputs.planned.plan {
        return finding(FALSE, *reason, message.clone());
    }
    if !inputs.checked.enforces() {
        let lines = plan_lines(inputs).len();
        let message = match lines {
            0 => "mode is Audit; the Corefile already says what the policy asks for".to_owned(),
            _ => format!("mode is Audit; Enforce would make {lines} changes, listed in status.plan"),
        };
        return finding(FALSE, Reason::AuditOnly, message);
    }
    // A text with the line that watches is rolled out as any other, and what became of it is no secret.
    let failed = inputs.rollout.is_some_and(|rollout| {
        use RolloutState::{CanaryFailed, Overwritten, RolledBack};
        matches!(rollout.state, CanaryFailed | Overwritten | RolledBack)
    });
    if let Some(Missing { reason, message }) = &inputs.planned.missing
        && !(*reason == Reason::Watching && failed)
    {
        return finding(FALSE, *reason, message.clone());
    }
    let Some(rollout) = inputs.rollout else {
        return finding(
            FALSE,
            Reason::RollingOut,
            "the change is about to begin".to_owned(),
        );
    };
    match rollout.state {
        RolloutState::Settled if matches!(inputs.planned.plan, Plan::InForce { .. }) => finding(
            TRUE,
            Reason::Loaded,
            format!("{} is served by every pod", rollout.identity),
        ),
        RolloutState::CanaryFailed => finding(FALSE, Reason::CanaryFailed, rollout.message.clone()),
        RolloutState::RolledBack => finding(FALSE, Reason::RolledBack, rollout.message.clone()),
        RolloutState::HeldBack => finding(FALSE, Reason::WouldGetWorse, rollout.message.clone()),
        RolloutState::Overwritten => finding(FALSE, Reason::OverwrittenBy, rollout.message.clone()),
        _ => finding(FALSE, Reason::RollingOut, rollout.message.clone()),
    }
}

fn verified(inputs: &Inputs) -> Finding {
    let finding =
        |status, reason, message: String| Finding::new(ConditionType::Verified, status, reason, message);
    let Some(verified) = inputs.verified else {
        return finding(
            UNKNOWN,
            Reason::Stale,
            "no round of probes has ended yet".to_owned(),
        );
    };
    if verified.valid_until < inputs.now {
        let message = format!("the newest results counted until {}", verified.valid_until);
        return finding(UNKNOWN, Reason::Stale, message);
    }
    if !verified.of_this_change {
        return finding(
            UNKNOWN,
            Reason::Stale,
            "a change was made since the newest results".to_owned(),
        );
    }
    let in_state = |state: ControlState| {
        let ids = verified
            .verdicts
            .iter()
            .filter(|(verdict, _)| verdict.state == state);
        ids.map(|(verdict, _)| verdict.control.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let failed = in_state(ControlState::Fail);
    let undetermined = in_state(ControlState::Indeterminate);
    if !failed.is_empty() {
        finding(FALSE, Reason::ControlsFailed, format!("failed: {failed}"))
    } else if !undetermined.is_empty() {
        finding(
            UNKNOWN,
            Reason::Undetermined,
            format!("could not be told: {undetermined}"),
        )
    } else {
        finding(
            TRUE,
            Reason::ProbesAgree,
            "every control that applies was seen to hold".to_owned(),
        )
    }
}

fn ready(inputs: &Inputs, [accepted, programmed, verified]: [&Finding; 3]) -> Finding {
    let finding =
        |status, reason, message: String| Finding::new(ConditionType::Ready, status, reason, message);
    if !inputs.checked.enforces() {
        return if accepted.status != TRUE {
            finding(FALSE, accepted.reason, accepted.message.clone())
        } else if verified.reason == Reason::Stale {
            finding(FALSE, verified.reason, verified.message.clone())
        } else {
            finding(
                TRUE,
                Reason::Succeeded,
                "freshly evaluated; mode is Audit".to_owned(),
            )
        };
    }
    [accepted, programmed, verified]
        .into_iter()
        .find(|part| part.status != TRUE)
        .map_or_else(
            || {
                finding(
                    TRUE,
                    Reason::Succeeded,
                    "accepted, programmed and verified".to_owned(),
                )
            },
            |missing| finding(FALSE, missing.reason, missing.message.clone()),
        )
}

fn stalled(inputs: &Inputs) -> Finding {
    let finding =
        |status, reason, message: String| Finding::new(ConditionType::Stalled, status, reason, message);
    let passing = [Reason::TargetNotFound, Reason::ResolverNotReady, Reason::Watching];
    let by_plan = match (&inputs.planned.plan, &inputs.planned.missing) {
        (Plan::Blocked { reason, message }, _) | (_, Some(Missing { reason, message })) => {
            Some((*reason, message.clone())).filter(|(reason, _)| !passing.contains(reason))
        }
        _ => None,
    };
    let by_rollout = inputs
        .rollout
        .filter(|_| inputs.checked.enforces())
        .and_then(|rollout| {
            let reason = match rollout.state {
                RolloutState::CanaryFailed => Reason::CanaryFailed,
                RolloutState::Overwritten => Reason::OverwrittenBy,
                RolloutState::RolledBack => Reason::RolledBack,
                _ => return None,
            };
            Some((reason, rollout.message.clone()))
        });
    match by_plan.or(by_rollout) {
        Some((reason, message)) => finding(TRUE, reason, message),
        None => finding(FALSE, Reason::Succeeded, "nothing waits for a person".to_owned()),
    }
}

fn target(inputs: &Inputs) -> Option<TargetStatus> {
    let target = inputs.checked.target.as_ref().ok()?;
    let seen = inputs.verified.and_then(|verified| verified.version.clone());
    Some(TargetStatus {
        kind: target.workload.kind,
        namespace: target.workload.namespace.clone(),
        name: target.workload.name.clone(),
        config_map: target
            .config_map
            .as_ref()
            .map(|source| source.config_map.clone())
            .unwrap_or_default(),
        platform: target.platform.to_string(),
        version: seen
            .or_else(|| target.image_version.clone())
            .map(|version| truncated(version, 64)),
    })
}

fn plan_lines(inputs: &Inputs) -> Vec<String> {
    let corefile = match &inputs.planned.plan {
        Plan::Replace(change) => change.lines.clone(),
        Plan::Blocked { .. } | Plan::InForce { .. } => Vec::new(),
    };
    let closings = inputs.checked.closings.iter().filter_map(Closing::line);
    corefile.into_iter().chain(closings).collect()
}

/// What is not closed as the policy wants it.
fn hindrances<'a>(inputs: &'a Inputs) -> impl Iterator<Item = String> + use<'a> {
    inputs.checked.closings.iter().filter_map(|closing| {
        let Hindrance { why, cure } = closing.hindrance.as_ref()?;
        Some(format!(
            "the namespace {} is not closed as `waysAround.close` says: {why}. {cure}",
            closing.namespace
        ))
    })
}

fn controls(verified: &Verified) -> Vec<ControlStatus> {
    verified
        .verdicts
        .iter()
        .map(|(verdict, evidence)| ControlStatus {
            id: verdict.control,
            state: verdict.state,
            expected: truncated(verdict.expected.clone(), 512),
            observed: truncated(verdict.observed.clone(), 1024),
            message: truncated(verdict.message.clone(), 2048),
            vantages: verdict.vantages.clone(),
            checked_at: Time(verified.checked_at),
            valid_until: Time(verified.valid_until),
            evidence: evidence.clone(),
        })
        .collect()
}

/// At most `most` lines of at most 1,024 characters; the last one tells how many were left out.
fn bounded(mut lines: Vec<String>, most: usize) -> Vec<String> {
    let surplus = lines.len().saturating_sub(most);
    if surplus > 0 {
        lines.truncate(most - 1);
        lines.push(format!("and {} more", surplus + 1));
    }
    lines.into_iter().map(|line| truncated(line, 1024)).collect()
}

fn truncated(text: String, most: usize) -> String {
    if text.chars().count() <= most {
        return text;
    }
    text.chars().take(most - 1).chain(['…']).collect()
}
