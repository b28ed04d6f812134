//! Holds a switch back until it was watched which names cluster DNS is asked for, and hands these to the comparison.
//!
//! The names are in memory, here and in the prober, and nowhere else. Whoever starts anew watches anew.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::ResourceExt;
use tsutsumi_api::{
    conditions::Reason,
    resolver_policy::{Recursion, RolloutState},
};
use tsutsumi_engine::{
    cluster::Cluster,
    managed::Missing,
    resolver::{
        Checked, Plan, plan,
        plan::{is_tapped, with_line},
        rollout::Circumstances,
        watch::{Stage, Watch, is_switch, stage},
    },
    switch::{Family, Question},
};
use tsutsumi_model::{AskedName, Collect, Collected};

use super::{Ctx, memory::Memory};

/// How often it is looked how far it has come.
const AGAIN: Duration = Duration::from_secs(5);
/// The same, once only the line is left to go.
const SOON: Duration = Duration::from_secs(1);
/// How long the prober goes on without a word from here.
const LEASE: u16 = 120;
/// How long names count as lately asked for: a switch that somebody else holds up is not watched for anew every hour.
const COUNT: Duration = Duration::from_secs(24 * 3_600);

/// The names of a watch that is over.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    names: Vec<AskedName>,
    at: Instant,
}

/// Lets the policy lead nobody elsewhere while it is being watched, with the line in the text or without it. Comes with
/// when to look again.
pub(super) async fn hold(
    ctx: &Ctx,
    checked: &mut Checked<'_>,
    cluster: &Cluster,
    memory: &mut Memory,
) -> Option<Duration> {
    checked.tapped = is_tapped(checked, &memory.record);
    let recursion = checked.policy.spec.recursion.as_ref();
    let lasts = recursion.map(Recursion::watch).unwrap_or_default();
    let image = checked.target.as_ref().ok()?.template.image.clone();
    let at = Circumstances {
        now: Timestamp::now(),
        generation: checked.policy.metadata.generation.unwrap_or_default(),
        image: &image,
    };
    let straight = plan(checked, &memory.record);
    let wanted = !lasts.is_zero() && checked.enforces() && !ctx.audit_only;
    if !wanted || !is_switch(&straight, memory.rollout.as_ref(), at) {
        if matches!(straight.plan, Plan::InForce { .. }) && checked.managed.missing().is_none() {
            memory.seen = None;
        }
        return None;
    }
    if memory.seen.as_ref().is_some_and(|seen| seen.at.elapsed() < COUNT) {
        return without_line(checked, memory);
    }
    memory.seen = None;
    let stage = match with_line_planned(checked, cluster, memory) {
        Line::Blocked => return Some(AGAIN),
        Line::Impossible(why) => waits(checked, Err(why), None, lasts, at.now),
        Line::Planned { since } => {
            let watch = (lasts, since, at.now);
            listen(ctx, checked, cluster, memory, watch).await
        }
    };
    Some(told(checked, memory, stage))
}

/// Once the names are known, the switch waits for the line to be gone from every pod.
fn without_line(checked: &mut Checked<'_>, memory: &Memory) -> Option<Duration> {
    let confirming = memory
        .rollout
        .as_ref()
        .is_some_and(|rollout| rollout.state == RolloutState::Written);
    if !checked.tapped && !confirming {
        return None;
    }
    held(
        checked,
        "it is known which names cluster DNS is asked for; the line that told them goes",
    );
    Some(SOON)
}

/// What became of the wish for the line.
enum Line {
    /// Whatever blocks the text is said, and blocks the switch as well.
    Blocked,
    /// It cannot be written; why, for a person.
    Impossible(&'static str),
    /// It is in the plan.
    Planned {
        /// Since when every pod has it; none where not yet.
        since: Option<Timestamp>,
    },
}

/// Wishes for the line, where it can stand.
fn with_line_planned(checked: &mut Checked<'_>, cluster: &Cluster, memory: &Memory) -> Line {
    let families: BTreeSet<bool> = pods(checked)
        .flat_map(|pod| &pod.addresses)
        .map(std::net::IpAddr::is_ipv4)
        .collect();
    let Some(collector) = cluster.collector(|address| families.contains(&address.is_ipv4())) else {
        return Line::Impossible("there is no Service tsutsumi-prober-names");
    };
    let free = checked.managed.clone();
    held(
        checked,
        "it is to be watched which names cluster DNS is asked for",
    );
    checked.tap = Some(collector);
    let lined = plan(checked, &memory.record);
    let since = match &lined.plan {
        Plan::Blocked { .. } => return Line::Blocked,
        Plan::InForce { identity, .. } => memory
            .rollout
            .as_ref()
            .filter(|rollout| rollout.state == RolloutState::Settled)
            .filter(|rollout| identity.as_deref() == Some(&rollout.identity))
            .map(|rollout| rollout.since.0),
        Plan::Replace(_) => None,
    };
    checked.managed = free;
    if !with_line(&lined, checked.tapped) {
        checked.tap = None;
        return Line::Impossible(
            "its Corefile has a `dnstap` of somebody else, beside which ours cannot stand before CoreDNS 1.10.1",
        );
    }
    Line::Planned { since }
}

/// Asks the prober what it was told up to now, and ends the watch once it has lasted long enough.
async fn listen(
    ctx: &Ctx,
    checked: &mut Checked<'_>,
    cluster: &Cluster,
    memory: &mut Memory,
    (lasts, since, now): (Duration, Option<Timestamp>, Timestamp),
) -> Stage {
    let asked = Collect {
        peers: pods(checked).flat_map(|pod| pod.addresses.clone()).collect(),
        // What cluster DNS answers itself, and what our own probes ask.
        apart: [&ctx.cluster_domain]
            .into_iter()
            .chain(&ctx.scope.probe_zone)
            .chain(ctx.scope.outside_zone.as_ref().map(|outside| &outside.name))
            .cloned()
            .collect(),
        seconds: LEASE,
    };
    let collected = ctx.vantages.collect(&cluster.pods, &asked).await;
    let collected = collected.map_err(|error| crate::runtime::logging::Chain(&error).to_string());
    if collected.is_err() && !checked.tapped {
        // Nobody would listen.
        checked.tap = None;
    }
    let stage = waits(
        checked,
        collected.as_ref().map_err(String::as_str),
        since,
        lasts,
        now,
    );
    if stage == Stage::Over {
        memory.seen = collected.ok().map(|collected| Seen {
            names: collected.names,
            at: Instant::now(),
        });
        let ended = Collect { seconds: 0, ..asked };
        if let Err(error) = ctx.vantages.collect(&cluster.pods, &ended).await {
            // It ends by itself.
            tracing::debug!(%error, policy = checked.policy.name_any(), "the prober was not told that a watch is over");
        }
        checked.tap = None;
    }
    stage
}

/// What cluster DNS was lately asked for, as the comparison takes it: addresses only, those asked most often.
pub(super) fn seen(memory: &Memory) -> BTreeSet<Question> {
    let names = memory.seen.iter().flat_map(|seen| &seen.names);
    let questions = names.filter_map(|asked| {
        let family = match asked.qtype {
            1 => Family::V4,
            28 => Family::V6,
            _ => return None,
        };
        Some(Question {
            name: asked.name.clone(),
            family,
        })
    });
    questions.take(tsutsumi_engine::switch::MOST).collect()
}

fn pods<'a>(checked: &'a Checked<'_>) -> impl Iterator<Item = &'a tsutsumi_engine::target::DnsPod> {
    checked.target.iter().flat_map(|target| &target.pods)
}

fn waits(
    checked: &Checked<'_>,
    told: Result<&Collected, &str>,
    since: Option<Timestamp>,
    lasts: Duration,
    now: Timestamp,
) -> Stage {
    let pods = checked.target.as_ref().map(|target| target.pods.as_slice());
    stage(&Watch {
        lasts,
        since,
        told,
        pods: pods.unwrap_or_default(),
        now,
    })
}

/// Holds the switch back for this stage.
fn told(checked: &mut Checked<'_>, memory: &Memory, stage: Stage) -> Duration {
    match stage {
        Stage::Waits(why) => held(checked, why),
        Stage::Over => {
            let names = memory.seen.as_ref().map_or(0, |seen| seen.names.len());
            held(
                checked,
                format!("cluster DNS was asked for {names} names; the line that told them goes"),
            );
        }
    }
    AGAIN
}

fn held(checked: &mut Checked<'_>, why: impl Into<String>) {
    let missing = Missing {
        reason: Reason::Watching,
        message: why.into(),
    };
    checked.managed = std::mem::take(&mut checked.managed).held_back(missing);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_are_compared() {
        let asked = |name: &str, qtype| AskedName {
            name: name.parse().unwrap(),
            qtype,
            times: 1,
        };
        let memory = Memory {
            seen: Some(Seen {
                names: vec![asked("b.test", 28), asked("a.test", 1), asked("a.test", 16)],
                at: Instant::now(),
            }),
            ..Memory::default()
        };
        let told: Vec<_> = seen(&memory)
            .into_iter()
            .map(|question| (question.name.to_string(), question.family))
            .collect();
        assert_eq!(
            told,
            [
                ("a.test".to_owned(), Family::V4),
                ("b.test".to_owned(), Family::V6)
            ]
        );
        assert!(seen(&Memory::default()).is_empty());
    }
}
