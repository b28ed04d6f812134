//! How a change of the Corefile goes on: the state machine behind `status.rollout`.
//!
//! saved → canary passed → written → settled; or canary failed, rolled back, overwritten. A reconcile takes the one
//! step that [`next`] names and records the new state, so a crash between any two calls resumes here.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tsutsumi_api::resolver_policy::{Rollout, RolloutState};

use super::plan::{Change, Plan, Slot};

/// Two reverts of our write within this time end the writing (never fight).
const REVERT_WINDOW: SignedDuration = SignedDuration::from_mins(30);
/// How many reverts within [`REVERT_WINDOW`] end the writing.
const REVERTS_TO_STOP: usize = 2;

/// What surrounds a decision.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The time.
    pub now: Timestamp,
    /// The generation of the policy.
    pub generation: i64,
    /// The image that serves, with which a canary judges.
    pub image: &'a str,
}

/// The one thing to do now.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<'a> {
    /// Nothing: in force, blocked, or waiting for a person.
    Rest,
    /// Keep the present text and record what is about to happen.
    Save(&'a Change, Rollout),
    /// Run both texts in canaries and compare.
    Judge(&'a Change),
    /// Write the candidate over the present text.
    Write(&'a Change),
    /// Ask every pod whether it runs the text.
    Confirm {
        /// Where the text stands.
        slot: &'a Slot,
        /// What every pod must answer as NSID; none where only service is to be confirmed.
        identity: Option<&'a str>,
    },
    /// Record that others insist on their text, and stop.
    GiveUp(Rollout),
}

/// The next step for a plan, given how far the recorded change has come.
#[must_use]
pub fn next<'a>(plan: &'a Plan, rollout: Option<&Rollout>, at: Circumstances) -> Step<'a> {
    match plan {
        Plan::Blocked { .. } => Step::Rest,
        Plan::InForce { slot, identity } => match rollout {
            Some(rollout)
                if rollout.state == RolloutState::Settled && is_for(rollout, identity.as_deref()) =>
            {
                Step::Rest
            }
            None if identity.is_none() => Step::Rest,
            _ => Step::Confirm {
                slot,
                identity: identity.as_deref(),
            },
        },
        Plan::Replace(change) => replace(change, rollout, at),
    }
}

/// The record of a step, with the history of reverts carried over.
#[must_use]
pub fn enter(
    state: RolloutState,
    label: &str,
    message: impl Into<String>,
    before: Option<&Rollout>,
    at: Circumstances,
) -> Rollout {
    Rollout {
        state,
        identity: label.to_owned(),
        since: Time(at.now),
        generation: at.generation,
        image: Some(at.image.to_owned()),
        message: message.into(),
        reverts: before.map(|rollout| rollout.reverts.clone()).unwrap_or_default(),
    }
}

fn replace<'a>(change: &'a Change, rollout: Option<&Rollout>, at: Circumstances) -> Step<'a> {
    let begin = |before: Option<&Rollout>| {
        let message = "the present text is kept; canaries are being judged";
        Step::Save(
            change,
            enter(RolloutState::Saved, change.label(), message, before, at),
        )
    };
    let Some(rollout) = rollout else {
        return begin(None);
    };
    let same = rollout.identity == change.label();
    match rollout.state {
        RolloutState::Saved if same => Step::Judge(change),
        RolloutState::CanaryPassed if same => Step::Write(change),
        RolloutState::CanaryFailed | RolloutState::RolledBack
            if same && rollout.image.as_deref() == Some(at.image) =>
        {
            Step::Rest
        }
        RolloutState::Overwritten if rollout.generation == at.generation => Step::Rest,
        RolloutState::Overwritten => begin(None),
        RolloutState::Written | RolloutState::Settled if !change.present_is_ours => {
            let mut rollout = rollout.clone();
            rollout
                .reverts
                .retain(|revert| at.now.duration_since(revert.0) < REVERT_WINDOW);
            rollout.reverts.push(Time(at.now));
            if rollout.reverts.len() >= REVERTS_TO_STOP {
                let message = "others put their text back twice within 30 minutes; writing has stopped until this \
                               policy changes";
                Step::GiveUp(enter(
                    RolloutState::Overwritten,
                    change.label(),
                    message,
                    Some(&rollout),
                    at,
                ))
            } else {
                begin(Some(&rollout))
            }
        }
        _ => begin(Some(rollout)),
    }
}

fn is_for(rollout: &Rollout, identity: Option<&str>) -> bool {
    rollout.identity == identity.unwrap_or("restore")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsutsumi_providers::coredns::Ownership;

    fn at(minute: i64) -> Circumstances<'static> {
        Circumstances {
            now: Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute),
            generation: 1,
            image: "coredns:1",
        }
    }

    fn change(identity: &str, present_is_ours: bool) -> Change {
        Change {
            slot: Slot {
                namespace: "kube-system".into(),
                config_map: "coredns".into(),
                key: "Corefile".into(),
            },
            present: "old".into(),
            candidate: "new".into(),
            identity: Some(identity.into()),
            ownership: Ownership::default(),
            lines: vec![],
            present_is_ours,
            leads_elsewhere: false,
            led: None,
        }
    }

    fn replace_with(identity: &str) -> Plan {
        Plan::Replace(Box::new(change(identity, false)))
    }

    fn in_state(state: RolloutState, identity: &str) -> Rollout {
        enter(state, identity, "", None, at(0))
    }

    #[test]
    fn a_change_goes_through_every_state_once() {
        let plan = replace_with("a");
        let Step::Save(_, saved) = next(&plan, None, at(0)) else {
            panic!("a new change is saved first")
        };
        assert!(matches!(next(&plan, Some(&saved), at(0)), Step::Judge(_)));
        let passed = in_state(RolloutState::CanaryPassed, "a");
        assert!(matches!(next(&plan, Some(&passed), at(0)), Step::Write(_)));
        let slot = change("a", true).slot;
        let live = Plan::InForce {
            slot,
            identity: Some("a".into()),
        };
        let written = in_state(RolloutState::Written, "a");
        assert!(matches!(
            next(&live, Some(&written), at(0)),
            Step::Confirm {
                identity: Some("a"),
                ..
            }
        ));
        let settled = in_state(RolloutState::Settled, "a");
        assert_eq!(next(&live, Some(&settled), at(0)), Step::Rest);
    }

    #[test]
    fn a_change_of_mind_starts_again_from_every_state() {
        for state in [
            RolloutState::Saved,
            RolloutState::CanaryPassed,
            RolloutState::CanaryFailed,
            RolloutState::RolledBack,
        ] {
            assert!(
                matches!(
                    next(&replace_with("b"), Some(&in_state(state, "a")), at(0)),
                    Step::Save(..)
                ),
                "{state:?}"
            );
        }
    }

    #[test]
    fn a_text_that_failed_is_not_tried_again_with_the_same_image() {
        for state in [RolloutState::CanaryFailed, RolloutState::RolledBack] {
            let failed = in_state(state, "a");
            assert_eq!(
                next(&replace_with("a"), Some(&failed), at(1)),
                Step::Rest,
                "{state:?}"
            );
            let newer = Circumstances {
                image: "coredns:2",
                ..at(1)
            };
            assert!(
                matches!(next(&replace_with("a"), Some(&failed), newer), Step::Save(..)),
                "{state:?}"
            );
        }
    }

    #[test]
    fn what_was_held_back_begins_again_whenever_it_is_planned() {
        let held = in_state(RolloutState::HeldBack, "a");
        assert!(matches!(
            next(&replace_with("a"), Some(&held), at(0)),
            Step::Save(..)
        ));
    }

    #[test]
    fn the_second_revert_within_half_an_hour_ends_the_writing() {
        let plan = replace_with("a");
        let settled = in_state(RolloutState::Settled, "a");
        let Step::Save(_, first) = next(&plan, Some(&settled), at(0)) else {
            panic!("the first revert is answered")
        };
        assert_eq!(first.reverts.len(), 1);
        let settled = Rollout {
            state: RolloutState::Settled,
            ..first
        };
        let Step::GiveUp(stopped) = next(&plan, Some(&settled), at(29)) else {
            panic!("the second revert ends it")
        };
        assert_eq!(next(&plan, Some(&stopped), at(40)), Step::Rest);
        let edited = Circumstances {
            generation: 2,
            ..at(40)
        };
        assert!(
            matches!(next(&plan, Some(&stopped), edited), Step::Save(_, rollout) if rollout.reverts.is_empty())
        );
        assert!(
            matches!(next(&plan, Some(&settled), at(31)), Step::Save(..)),
            "an old revert is forgotten"
        );
    }

    #[test]
    fn an_edit_that_leaves_our_directives_is_no_revert() {
        let settled = in_state(RolloutState::Settled, "a");
        let plan = Plan::Replace(Box::new(change("b", true)));
        let Step::Save(_, saved) = next(&plan, Some(&settled), at(0)) else {
            panic!("it is followed")
        };
        assert!(saved.reverts.is_empty());
    }
}
