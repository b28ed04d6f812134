//! Before cluster DNS is led elsewhere for the first time, it is watched which names it is asked for.
//!
//! A text with a `dnstap` line is rolled out as any other; once every pod runs it, time counts. Then the line is taken out
//! again, and only after that the root is led elsewhere. How far it has come stands in the rollout's record, and what was
//! collected nowhere but in memory: whoever loses it watches again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tsutsumi_model::Collected;

use super::{
    plan::{Plan, Planned},
    rollout::{Circumstances, Step, next},
};
use crate::target::DnsPod;
use tsutsumi_api::resolver_policy::Rollout;

/// Whether the plan leads names elsewhere that were not led there by us before, and is about to be carried out.
#[must_use]
pub fn is_switch(planned: &Planned, rollout: Option<&Rollout>, at: Circumstances<'_>) -> bool {
    match &planned.plan {
        // What failed is not tried again.
        Plan::Replace(change) => change.leads_elsewhere && next(&planned.plan, rollout, at) != Step::Rest,
        Plan::Blocked { .. } | Plan::InForce { .. } => false,
    }
}

/// What is known of a watch.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    /// How long it is to last.
    pub lasts: Duration,
    /// Since when every pod runs the text with the line; none where not yet.
    pub since: Option<Timestamp>,
    /// What was collected so far, or why that is not known.
    pub told: Result<&'a Collected, &'a str>,
    /// The pods of cluster DNS.
    pub pods: &'a [DnsPod],
    /// The time.
    pub now: Timestamp,
}

/// How far a watch has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Stage {
    /// It goes on, or cannot begin: for a person.
    Waits(String),
    /// Everybody told, for long enough.
    Over,
}

/// How far it has come. Nothing is over that was not seen for the whole time.
#[must_use]
pub fn stage(watch: &Watch<'_>) -> Stage {
    let Watch {
        lasts,
        since,
        told,
        pods,
        now,
    } = *watch;
    let told = match told {
        Ok(told) => told,
        Err(why) => {
            return Stage::Waits(format!(
                "which names cluster DNS is asked for is not known, and nothing is led elsewhere before: {why}; with \
                 `recursion.compare.watch: 0s` it goes on without"
            ));
        }
    };
    let Some(since) = since else {
        return Stage::Waits(format!(
            "once every pod tells which names it is asked for, that is watched for {} s before anything is led elsewhere",
            lasts.as_secs()
        ));
    };
    let seen = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    let seen = seen.min(Duration::from_secs(told.seconds));
    let left = lasts.saturating_sub(seen);
    if !left.is_zero() {
        let until = now + SignedDuration::from_secs(i64::try_from(left.as_secs()).unwrap_or(i64::MAX / 2));
        return Stage::Waits(format!(
            "which names cluster DNS is asked for is watched until {until:.0}: {} so far, in {} questions",
            told.names.len(),
            told.questions
        ));
    }
    let silent = pods.iter().find(|pod| {
        let mut addresses = pod.addresses.iter();
        pod.ready && !addresses.any(|address| told.connected.contains(address))
    });
    match silent {
        Some(pod) => Stage::Waits(format!(
            "the pod {} does not tell which names it is asked for, and nothing is led elsewhere before: let it connect to \
             the Service tsutsumi-prober-names under its own address; with `recursion.compare.watch: 0s` it goes on without",
            pod.name
        )),
        None => Stage::Over,
    }
}

#[cfg(test)]
mod tests {
    use tsutsumi_model::{AskedName, Port};

    use super::*;

    fn pod(address: &str) -> DnsPod {
        DnsPod {
            name: format!("coredns-{address}"),
            uid: String::new(),
            node: String::new(),
            addresses: vec![address.parse().unwrap()],
            dns_port: Port::new(53).unwrap(),
            metrics_port: None,
            ready: true,
            has_authority: false,
            host_network: false,
            restarts: 0,
        }
    }

    fn told(seconds: u64, connected: &[&str]) -> Collected {
        Collected {
            seconds,
            connected: connected.iter().map(|address| address.parse().unwrap()).collect(),
            questions: 9,
            unreadable: 0,
            names: vec![AskedName {
                name: "wiki.corp.test".parse().unwrap(),
                qtype: 1,
                times: 9,
            }],
        }
    }

    fn at(told: Result<&Collected, &str>, settled: bool, second: i64) -> Stage {
        stage(&Watch {
            lasts: Duration::from_secs(300),
            since: settled.then_some(Timestamp::UNIX_EPOCH),
            told,
            pods: &[pod("10.0.0.1"), pod("10.0.0.2")],
            now: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second),
        })
    }

    fn waits(stage: &Stage, word: &str) -> bool {
        matches!(stage, Stage::Waits(why) if why.contains(word))
    }

    #[test]
    fn it_is_over_when_every_pod_told_for_the_whole_time() {
        let both = ["10.0.0.1", "10.0.0.2"];
        assert!(waits(&at(Ok(&told(400, &both)), false, 400), "once every pod"));
        let going = at(Ok(&told(400, &both)), true, 299);
        assert!(waits(&going, "until 1970-01-01T00:05:00Z: 1 so far"), "{going:?}");
        assert_eq!(at(Ok(&told(400, &both)), true, 300), Stage::Over);
    }

    #[test]
    fn a_collector_that_began_anew_has_the_whole_time_before_it() {
        let both = ["10.0.0.1", "10.0.0.2"];
        let anew = at(Ok(&told(10, &both)), true, 1_000);
        assert!(waits(&anew, "until 1970-01-01T00:21:30Z"), "{anew:?}");
    }

    #[test]
    fn who_does_not_tell_is_named_and_waited_for() {
        let silent = at(Ok(&told(400, &["10.0.0.1"])), true, 400);
        assert!(waits(&silent, "coredns-10.0.0.2"), "{silent:?}");
        let unknown = at(Err("no prober"), true, 400);
        assert!(
            waits(&unknown, "no prober") && waits(&unknown, "0s"),
            "{unknown:?}"
        );
    }
}
