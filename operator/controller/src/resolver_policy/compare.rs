//! Compares what two canaries answer, question by question.

use tsutsumi_engine::cluster::Pod;
use tsutsumi_model::{Ask, DnsQuestion, DomainName, Endpoint, Observation, Probe, Rcode, Saw, Transport};

/// What both canaries are asked. The answers are compared question by question.
pub(crate) fn questions(server: Endpoint, first_id: u32, cluster_domain: &DomainName) -> Vec<Probe> {
    let names = ["kubernetes.default.svc", "no-such-service.default.svc"]
        .into_iter()
        .filter_map(|name| format!("{name}.{cluster_domain}").parse::<DomainName>().ok())
        .chain("tsutsumi-probe.test".parse());
    names
        .flat_map(|name| [(name.clone(), Transport::Udp), (name, Transport::Tcp)])
        .zip(first_id..)
        .map(|((name, transport), id)| Probe {
            id,
            ask: Ask::Dns(DnsQuestion::ordinary(server, transport, name)),
        })
        .collect()
}

/// Whether the canary is up: it answers for the cluster's own API, which needs the `kubernetes` plugin to have synced.
pub(crate) fn serves(observations: &[Observation]) -> bool {
    let both = observations.get(..2).unwrap_or_default();
    let served =
        |seen: &Observation| matches!(&seen.saw, Saw::Answer(answer) if answer.rcode == Rcode::NOERROR);
    !both.is_empty() && both.iter().all(served)
}

/// The first question that the candidate answers worse than the present text, for a person.
pub(crate) fn worse(present: &[Observation], candidate: &[Observation]) -> Option<String> {
    present.iter().zip(candidate).find_map(|(before, after)| {
        let Ask::Dns(question) = &before.probe.ask else {
            return None;
        };
        let worse = match (&before.saw, &after.saw) {
            (Saw::Answer(before), Saw::Answer(after)) => is_good(before.rcode) && before.rcode != after.rcode,
            (Saw::Answer(before), _) => is_good(before.rcode),
            _ => false,
        };
        worse.then(|| {
            format!(
                "{} over {}: the present text {}, the candidate {}",
                question.name,
                question.transport,
                told(&before.saw),
                told(&after.saw)
            )
        })
    })
}

/// Why a canary's container ended, as it said itself. What it wrote to its two outputs comes in no certain order, so
/// the line that speaks of an error goes before the last one.
pub(crate) fn last_words(pod: &Pod) -> String {
    let message = pod.last_words.as_deref().unwrap_or_default();
    let mut lines = message
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .rev();
    let error = lines
        .clone()
        .find(|line| line.to_ascii_lowercase().contains("error"));
    error
        .or_else(|| lines.next())
        .unwrap_or("it ended without a word")
        .to_owned()
}

/// What a resolver that works answers.
fn is_good(rcode: Rcode) -> bool {
    matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN)
}

fn told(saw: &Saw) -> String {
    match saw {
        Saw::Answer(answer) => format!("answers {}", answer.rcode),
        Saw::Metrics(_) => "shows metrics".to_owned(),
        Saw::Root(answer) => format!("answers {} about the root", answer.rcode),
        Saw::Series(tally) => format!("answers {} questions", tally.answered()),
        Saw::Nothing(failure) => format!("gives no answer ({failure:?})"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tsutsumi_model::{DnsAnswer, Failure};

    use super::*;

    const SERVER: Endpoint = Endpoint {
        address: std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 244, 0, 9)),
        port: tsutsumi_model::Port::MIN,
    };

    fn answer(rcode: Rcode) -> Saw {
        Saw::Answer(DnsAnswer {
            rcode,
            truncated: false,
            authentic: false,
            query_bytes: 40,
            answer_bytes: 80,
            answers: 1,
            addresses: vec![],
            nsid: None,
            extended_errors: vec![],
        })
    }

    /// Every question answered alike.
    fn seen(saw: &Saw) -> Vec<Observation> {
        let domain = "cluster.local".parse().unwrap();
        let observe = |probe| Observation {
            probe,
            vantage: tsutsumi_model::Vantage::Inside,
            saw: saw.clone(),
            millis: 1,
        };
        questions(SERVER, 0, &domain).into_iter().map(observe).collect()
    }

    #[test]
    fn an_answer_that_changes_or_ends_is_worse() {
        let good = seen(&answer(Rcode::NOERROR));
        assert_eq!(worse(&good, &good), None);
        for bad in [
            answer(Rcode::SERVFAIL),
            answer(Rcode::REFUSED),
            Saw::Nothing(Failure::Timeout),
        ] {
            let told = worse(&good, &seen(&bad)).unwrap();
            assert!(
                told.starts_with("kubernetes.default.svc.cluster.local over UDP"),
                "{told}"
            );
        }
        assert_eq!(
            worse(&seen(&Saw::Nothing(Failure::Timeout)), &good),
            None,
            "more than before is not worse"
        );
    }

    #[test]
    fn a_canary_serves_once_the_cluster_is_answered_for_over_both_transports() {
        assert!(serves(&seen(&answer(Rcode::NOERROR))));
        assert!(!serves(&seen(&answer(Rcode::SERVFAIL))));
        let mut half = seen(&answer(Rcode::NOERROR));
        half[1].saw = Saw::Nothing(Failure::Timeout);
        assert!(!serves(&half));
        assert!(!serves(&[]), "what was not seen does not serve");
    }

    #[test]
    fn the_line_of_the_error_is_told_wherever_it_stands() {
        let error = "/etc/coredns/Corefile:2 - Error during parsing: Unknown directive 'x'";
        let said = |message: &str| {
            let pod = json!({ "metadata": {}, "status": { "containerStatuses": [{
                "name": "coredns", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "terminated": { "exitCode": 1, "message": message } },
            }]}});
            last_words(&serde_json::from_value(pod).unwrap())
        };
        assert_eq!(said(&format!("{error}\nmaxprocs: Leaving GOMAXPROCS=2\n")), error);
        assert_eq!(said(&format!("maxprocs: Leaving GOMAXPROCS=2\n{error}\n")), error);
        assert_eq!(said("one\ntwo\n\n"), "two");
        assert_eq!(said(""), "it ended without a word");
    }
}
