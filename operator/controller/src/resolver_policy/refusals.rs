//! How often `acl` refused somebody inside the cluster: a sign that the allow-list misses a client.
//!
//! CoreDNS counts refusals without saying whom. Where nothing leads in from outside, whoever is refused is inside, apart
//! from our own prober outside, whose questions are known. Where something leads in, the count says nothing and is not
//! taken.

use std::collections::BTreeMap;

use tsutsumi_model::{Ask, Endpoint, MetricName, Observation, Rcode, Saw, Vantage};

/// The counters of the round before, by the address of the metrics.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<Endpoint, u64>);

impl Refusals {
    /// Refusals since the round before that were not of our own making.
    pub(super) fn since_last(&mut self, observations: &[Observation]) -> u64 {
        let mut grown = 0;
        for (pod, total) in observations.iter().filter_map(total) {
            // A pod that was not there before, or has started anew, tells nothing by its first number.
            let before = self
                .0
                .insert(pod, total)
                .filter(|before| *before <= total)
                .unwrap_or(total);
            grown += total - before;
        }
        grown.saturating_sub(own(observations))
    }
}

/// The sum of a pod's refusals over its server blocks and zones.
fn total(observation: &Observation) -> Option<(Endpoint, u64)> {
    let (Ask::Metrics(pod), Saw::Metrics(samples)) = (&observation.probe.ask, &observation.saw) else {
        return None;
    };
    let sum: f64 = samples
        .iter()
        .filter(|sample| sample.name == MetricName::CorednsAclBlockedRequestsTotal)
        .map(|sample| sample.value)
        .sum();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a counter, far below 2^53"
    )]
    Some((*pod, sum as u64))
}

/// How many refusals our own prober outside has brought about.
fn own(observations: &[Observation]) -> u64 {
    let refused = |observation: &&Observation| {
        observation.vantage == Vantage::Outside
            && matches!(&observation.saw, Saw::Answer(answer) if answer.rcode == Rcode::REFUSED)
    };
    observations.iter().filter(refused).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsutsumi_model::{
        DnsAnswer, DnsQuestion, MetricSample, Port, Probe, QueryClass, QueryType, Transport,
    };

    const POD: Endpoint = Endpoint {
        address: std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 244, 0, 5)),
        port: Port::MIN,
    };

    fn counted(value: f64) -> Observation {
        let sample = MetricSample {
            name: MetricName::CorednsAclBlockedRequestsTotal,
            labels: BTreeMap::new(),
            value,
        };
        let saw = Saw::Metrics(vec![sample.clone(), sample]);
        Observation {
            probe: Probe {
                id: 0,
                ask: Ask::Metrics(POD),
            },
            vantage: Vantage::Inside,
            saw,
            millis: 1,
        }
    }

    fn refused_outside() -> Observation {
        let question = DnsQuestion {
            server: POD,
            transport: Transport::Udp,
            name: "kubernetes.default.svc.cluster.local".parse().unwrap(),
            qtype: QueryType::A,
            qclass: QueryClass::In,
            edns: None,
            validator: None,
        };
        let answer = DnsAnswer {
            rcode: Rcode::REFUSED,
            truncated: false,
            authentic: false,
            query_bytes: 40,
            answer_bytes: 40,
            answers: 0,
            addresses: vec![],
            nsid: None,
            extended_errors: vec![],
        };
        let (probe, saw) = (
            Probe {
                id: 1,
                ask: Ask::Dns(question),
            },
            Saw::Answer(answer),
        );
        Observation {
            probe,
            vantage: Vantage::Outside,
            saw,
            millis: 1,
        }
    }

    #[test]
    fn only_growth_that_is_not_ours_counts() {
        let mut refusals = Refusals::default();
        assert_eq!(
            refusals.since_last(&[counted(50.0)]),
            0,
            "the first number tells nothing"
        );
        assert_eq!(
            refusals.since_last(&[counted(51.0), refused_outside(), refused_outside()]),
            0
        );
        assert_eq!(refusals.since_last(&[counted(53.0), refused_outside()]), 3);
        assert_eq!(
            refusals.since_last(&[counted(1.0)]),
            0,
            "a pod that started anew tells nothing"
        );
    }
}
