//! Whether every pod runs the written text, from what the pods themselves answered.

use jiff::{SignedDuration, Timestamp};
use tsutsumi_model::{DnsAnswer, MetricName, Observation, Saw, Transport};
use tsutsumi_providers::coredns::nsid::Nsid;

use super::record::BaselinePod;

/// A pod of the target, as it is asked.
#[derive(Clone, Debug)]
pub struct AskedPod {
    /// Its name.
    pub name: String,
    /// Whether Kubernetes calls it ready.
    pub ready: bool,
    /// What came back, every address and transport.
    pub observations: Vec<Observation>,
}

/// What the pods' answers say about the written text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Confirmation {
    /// Every pod that serves shows the identity, over UDP and TCP.
    Settled,
    /// Some pods show another identity still; nothing is wrong yet.
    Pending {
        /// Which, for a person.
        message: String,
    },
    /// A pod that answered before no longer does, or refused the text: the saved text must go back.
    Broken {
        /// Which, for a person.
        message: String,
    },
}

/// After this time a pod that still shows the old identity is reported with the command that helps: kubelet's sync of
/// ConfigMaps takes up to 90 s, the `reload` plugin another 38 s.
pub const EXPECTED_WITHIN: SignedDuration = SignedDuration::from_mins(4);

/// By what a pod shows that it runs the written text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sign<'a> {
    /// It shows this identity.
    Identity(&'a str),
    /// The text has no identity of ours, so the pod shows none any more but what stands in the text.
    NoneOfOurs {
        /// The text.
        text: &'a str,
    },
}

/// Judges one round of asking. `misses` counts, per pod, the rounds in a row in which it did not answer.
#[must_use]
pub fn confirm(
    pods: &[AskedPod],
    baseline: &[BaselinePod],
    sign: Sign<'_>,
    misses: &dyn Fn(&str) -> u32,
    written: Timestamp,
    now: Timestamp,
) -> Confirmation {
    let mut pending = Vec::new();
    for pod in pods {
        let before = baseline.iter().find(|known| known.name == pod.name);
        if let Some(before) = before {
            if !answers(&pod.observations) && misses(&pod.name) >= MISSES_TO_BREAK {
                let message = format!("pod {} answered before the write and no longer does", pod.name);
                return Confirmation::Broken { message };
            }
            if reloads_failed(&pod.observations) > before.reloads_failed && before.reloads_failed.is_some() {
                let message = format!(
                    "pod {} refused to load the text and would not start with it",
                    pod.name
                );
                return Confirmation::Broken { message };
            }
        }
        let runs_it = shows(&pod.observations, sign);
        if pod.ready && !runs_it {
            pending.push(pod.name.as_str());
        }
    }
    if pending.is_empty() && pods.iter().any(|pod| pod.ready) {
        return Confirmation::Settled;
    }
    let waiting = if pending.is_empty() {
        "no pod is ready".to_owned()
    } else {
        format!("waiting for {}", pending.join(", "))
    };
    let message = if now.duration_since(written) > EXPECTED_WITHIN {
        format!(
            "{waiting}; without the `reload` plugin, or with a subPath mount, a pod reads its Corefile only at its \
             start: restart the workload with kubectl rollout restart"
        )
    } else {
        waiting
    };
    Confirmation::Pending { message }
}

/// Rounds in a row without an answer that make a pod broken: one lost datagram is not an outage.
pub const MISSES_TO_BREAK: u32 = 3;

/// Whether the pod answered over UDP and over TCP at every address that was asked.
#[must_use]
pub fn answers(observations: &[Observation]) -> bool {
    [Transport::Udp, Transport::Tcp].into_iter().all(|transport| {
        let mut asked = dns(observations, transport).peekable();
        asked.peek().is_some() && asked.all(|answer| answer.is_some())
    })
}

/// `coredns_reload_failed_total` as the pod's metrics show it.
#[must_use]
pub fn reloads_failed(observations: &[Observation]) -> Option<u64> {
    observations
        .iter()
        .find_map(|observation| match &observation.saw {
            // The counter is a whole number far below 2^53.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a small counter, never negative"
            )]
            Saw::Metrics(samples) => samples
                .iter()
                .find(|sample| sample.name == MetricName::CorednsReloadFailedTotal)
                .map(|sample| sample.value as u64),
            _ => None,
        })
}

fn shows(observations: &[Observation], sign: Sign<'_>) -> bool {
    let right = |shown: Option<&str>| match sign {
        Sign::Identity(wanted) => shown == Some(wanted),
        Sign::NoneOfOurs { text } => {
            shown.is_none_or(|shown| Nsid::parse(shown).is_none() || text.contains(shown))
        }
    };
    answers(observations)
        && [Transport::Udp, Transport::Tcp].into_iter().all(|transport| {
            dns(observations, transport)
                .flatten()
                .all(|answer| right(answer.nsid.as_deref()))
        })
}

/// The answers to DNS probes over one transport; `None` for a probe without an answer.
fn dns(observations: &[Observation], transport: Transport) -> impl Iterator<Item = Option<&DnsAnswer>> {
    observations
        .iter()
        .filter_map(move |observation| match &observation.probe.ask {
            tsutsumi_model::Ask::Dns(question) if question.transport == transport => {
                Some(match &observation.saw {
                    Saw::Answer(answer) => Some(answer),
                    _ => None,
                })
            }
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsutsumi_model::{
        Ask, DnsQuestion, Endpoint, Failure, MetricSample, Port, Probe, QueryClass, QueryType, Rcode, Vantage,
    };

    const IDENTITY: &str = "tsutsumi-0123456789ab";

    fn server() -> Endpoint {
        Endpoint {
            address: [10, 244, 0, 5].into(),
            port: Port::MIN,
        }
    }

    fn seen(transport: Transport, saw: Saw) -> Observation {
        let question = DnsQuestion {
            server: server(),
            transport,
            name: "kubernetes.default.svc.cluster.local".parse().unwrap(),
            qtype: QueryType::A,
            qclass: QueryClass::In,
            validator: None,
            edns: Some(1232),
        };
        Observation {
            probe: Probe {
                id: 0,
                ask: Ask::Dns(question),
            },
            vantage: Vantage::Inside,
            saw,
            millis: 1,
        }
    }

    fn showing(nsid: &str) -> Saw {
        Saw::Answer(DnsAnswer {
            rcode: Rcode::NOERROR,
            authentic: false,
            truncated: false,
            query_bytes: 60,
            answer_bytes: 90,
            answers: 1,
            addresses: vec![],
            nsid: Some(nsid.to_owned()),
            extended_errors: vec![],
        })
    }

    fn refused_reloads(times: f64) -> Observation {
        let sample = MetricSample {
            name: MetricName::CorednsReloadFailedTotal,
            labels: std::collections::BTreeMap::new(),
            value: times,
        };
        Observation {
            probe: Probe {
                id: 0,
                ask: Ask::Metrics(server()),
            },
            vantage: Vantage::Inside,
            saw: Saw::Metrics(vec![sample]),
            millis: 1,
        }
    }

    fn pod(name: &str, ready: bool, udp: Saw, tcp: Saw) -> AskedPod {
        let observations = vec![seen(Transport::Udp, udp), seen(Transport::Tcp, tcp)];
        AskedPod {
            name: name.to_owned(),
            ready,
            observations,
        }
    }

    fn known(name: &str) -> BaselinePod {
        BaselinePod {
            name: name.to_owned(),
            reloads_failed: Some(0),
        }
    }

    fn judged(pods: &[AskedPod], baseline: &[BaselinePod], misses: u32, minutes: i64) -> Confirmation {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
        confirm(
            pods,
            baseline,
            Sign::Identity(IDENTITY),
            &|_| misses,
            Timestamp::UNIX_EPOCH,
            now,
        )
    }

    #[test]
    fn every_ready_pod_must_show_the_identity_over_both_transports() {
        let good = pod("a", true, showing(IDENTITY), showing(IDENTITY));
        let half = pod("b", true, showing(IDENTITY), showing("old"));
        assert_eq!(
            judged(std::slice::from_ref(&good), &[known("a")], 0, 1),
            Confirmation::Settled
        );
        let both = judged(&[good, half], &[known("a"), known("b")], 0, 1);
        assert!(matches!(both, Confirmation::Pending { message } if message.contains('b')));
    }

    #[test]
    fn a_text_without_an_identity_is_run_once_ours_is_gone() {
        let now = Timestamp::UNIX_EPOCH;
        let judged = |shown: &str, text| {
            let pods = [pod("a", true, showing(shown), showing(shown))];
            confirm(&pods, &[known("a")], Sign::NoneOfOurs { text }, &|_| 0, now, now)
        };
        assert!(matches!(
            judged(IDENTITY, ".:53 {\n}\n"),
            Confirmation::Pending { .. }
        ));
        assert_eq!(judged("town", ".:53 {\n}\n"), Confirmation::Settled);
        let left = format!(".:53 {{\n    nsid {IDENTITY}\n}}\n");
        assert_eq!(
            judged(IDENTITY, &left),
            Confirmation::Settled,
            "it stands there as somebody else's"
        );
    }

    #[test]
    fn a_pod_that_is_not_ready_neither_hinders_nor_breaks() {
        let good = pod("a", true, showing(IDENTITY), showing(IDENTITY));
        let down = pod(
            "b",
            false,
            Saw::Nothing(Failure::Timeout),
            Saw::Nothing(Failure::Timeout),
        );
        assert_eq!(judged(&[good, down], &[known("a")], 9, 1), Confirmation::Settled);
    }

    #[test]
    fn a_pod_that_answered_before_breaks_the_change_after_three_misses() {
        let down = pod("a", false, Saw::Nothing(Failure::Timeout), showing(IDENTITY));
        assert!(matches!(
            judged(std::slice::from_ref(&down), &[known("a")], 2, 1),
            Confirmation::Pending { .. }
        ));
        assert!(matches!(
            judged(&[down], &[known("a")], 3, 1),
            Confirmation::Broken { .. }
        ));
    }

    #[test]
    fn a_refused_reload_breaks_the_change_although_the_old_text_serves() {
        let mut refused = pod("a", true, showing("old"), showing("old"));
        refused.observations.push(refused_reloads(1.0));
        assert!(matches!(
            judged(&[refused], &[known("a")], 0, 1),
            Confirmation::Broken { .. }
        ));
    }

    #[test]
    fn a_pod_that_never_reloads_is_reported_with_what_helps() {
        let old = pod("a", true, showing("old"), showing("old"));
        let late = judged(&[old], &[known("a")], 0, 5);
        assert!(matches!(late, Confirmation::Pending { message } if message.contains("rollout restart")));
    }

    #[test]
    fn nothing_is_settled_without_a_pod() {
        assert!(matches!(judged(&[], &[], 0, 1), Confirmation::Pending { .. }));
    }
}
