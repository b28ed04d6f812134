//! What is news in a status, told as Events and in the log: the steps of a rollout, what waits for a person, and
//! controls that begin to fail. What was told before is not told again.

use kube::{Resource, ResourceExt, runtime::events::EventType};
use tsutsumi_api::{
    ResolverPolicy, ResolverPolicyStatus,
    conditions::{ConditionType, Reason},
    resolver_policy::RolloutState,
};
use tsutsumi_model::ControlState;

use super::Ctx;
use crate::runtime::writer::Writer;

/// One thing to tell.
#[derive(Clone, Debug, PartialEq)]
struct News {
    type_: EventType,
    reason: Reason,
    /// What was done, in one word. Events of one reason and action are counted together and show the first note.
    action: String,
    note: String,
}

/// Tells what `said` says and the policy's status did not.
pub(super) async fn tell(ctx: &Ctx, writer: &Writer, policy: &ResolverPolicy, said: &ResolverPolicyStatus) {
    let about = policy.object_ref(&());
    for News {
        type_,
        reason,
        action,
        note,
    } in news(policy.status.as_ref(), said)
    {
        tracing::info!(
            policy = policy.name_any(),
            reason = reason.as_str(),
            action,
            "{note}"
        );
        ctx.events
            .publish(writer, &about, type_, reason, &action, &note)
            .await;
    }
}

fn news(before: Option<&ResolverPolicyStatus>, said: &ResolverPolicyStatus) -> Vec<News> {
    let warning = |reason, action: String, note| News {
        type_: EventType::Warning,
        reason,
        action,
        note,
    };
    let mut news = Vec::from_iter(step(before, said));
    if let Some((reason, message)) =
        stalled(said).filter(|now| before.and_then(stalled).as_ref() != Some(now))
    {
        news.push(warning(reason, "Stop".to_owned(), message));
    }
    for control in said
        .controls
        .iter()
        .filter(|control| control.state == ControlState::Fail)
    {
        let mut known = before.into_iter().flat_map(|status| &status.controls);
        if !known.any(|old| old.id == control.id && old.state == control.state) {
            let note = format!("{}: {}. {}", control.id, control.observed, control.message);
            news.push(warning(
                Reason::ControlsFailed,
                format!("Verify{}", control.id),
                note,
            ));
        }
    }
    news
}

/// A step of the rollout that went well; what went wrong is told as what waits for a person.
fn step(before: Option<&ResolverPolicyStatus>, said: &ResolverPolicyStatus) -> Option<News> {
    let rollout = said.rollout.as_ref()?;
    let known = before.and_then(|status| status.rollout.as_ref());
    if known.is_some_and(|known| known.state == rollout.state && known.identity == rollout.identity) {
        return None;
    }
    let (reason, action, note) = match rollout.state {
        RolloutState::Written => (
            Reason::RollingOut,
            "Write",
            format!("{} is written", rollout.identity),
        ),
        RolloutState::Settled => (
            Reason::Loaded,
            "Confirm",
            format!("{} is served by every pod", rollout.identity),
        ),
        _ => return None,
    };
    Some(News {
        type_: EventType::Normal,
        reason,
        action: action.to_owned(),
        note,
    })
}

fn stalled(status: &ResolverPolicyStatus) -> Option<(Reason, String)> {
    let condition = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == ConditionType::Stalled.as_str() && condition.status == "True")?;
    Some((Reason::named(&condition.reason)?, condition.message.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(rollout: &str, stalled: Option<&str>, dns_01: &str) -> ResolverPolicyStatus {
        let condition = |reason: &str| {
            serde_json::json!([{
                "type": "Stalled", "status": "True", "reason": reason, "message": "look",
                "lastTransitionTime": "2026-11-24T00:00:00Z",
            }])
        };
        serde_json::from_value(serde_json::json!({
            "conditions": stalled.map_or_else(|| serde_json::json!([]), condition),
            "rollout": {
                "state": rollout, "identity": "tsutsumi-1", "since": "2026-11-24T00:00:00Z", "generation": 1,
            },
            "controls": [{
                "id": "DNS-01", "state": dns_01, "expected": "", "observed": "", "message": "open", "evidence": "",
                "checkedAt": "2026-11-24T00:00:00Z", "validUntil": "2026-11-24T00:15:00Z",
            }],
        }))
        .unwrap()
    }

    fn told(before: Option<&ResolverPolicyStatus>, said: &ResolverPolicyStatus) -> Vec<(Reason, String)> {
        news(before, said)
            .into_iter()
            .map(|news| (news.reason, news.action))
            .collect()
    }

    #[test]
    fn every_change_is_told_once() {
        let written = status("Written", None, "Fail");
        assert_eq!(
            told(None, &written),
            [
                (Reason::RollingOut, "Write".to_owned()),
                (Reason::ControlsFailed, "VerifyDNS-01".to_owned())
            ]
        );
        assert_eq!(told(Some(&written), &written), []);
        let settled = status("Settled", None, "Pass");
        assert_eq!(
            told(Some(&written), &settled),
            [(Reason::Loaded, "Confirm".to_owned())]
        );
    }

    #[test]
    fn what_waits_for_a_person_is_a_warning() {
        let stopped = status("Overwritten", Some("OverwrittenBy"), "Pass");
        let first = news(Some(&status("Settled", None, "Pass")), &stopped);
        assert_eq!(first.len(), 1);
        assert_eq!(
            (first[0].type_, first[0].reason),
            (EventType::Warning, Reason::OverwrittenBy)
        );
        assert_eq!(told(Some(&stopped), &stopped), []);
    }
}
