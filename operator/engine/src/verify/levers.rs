//! The questions by which an answer grows: ANY, a long text and the zone's keys, with signatures, of every pod.
//!
//! The long text goes into the cache over TCP first: what a server has in whole it would send in whole, and a server in
//! front of it that cuts its own answers would hide that.

use tsutsumi_model::{
    Ask, DnsQuestion, DomainName, Endpoint, NameError, QueryClass, QueryType, Transport, Validator, ZoneName,
};

use super::{
    Aim, Lever, Place, RoundInput, RoundPod, Step,
    questions::{Planner, endpoints, place},
    series::Marks,
};

/// What the questions offer, in bytes: as much as servers use to send over UDP at all.
const OFFERED: u16 = 4096;

/// A pod whose cache holds the long text by then.
pub(super) struct Prepared {
    place: Place,
    server: Endpoint,
    text: DomainName,
}

/// The questions that fill the caches, and what to go on from.
pub(super) fn prepare(
    planner: &mut Planner,
    input: &RoundInput,
    pods: &[&RoundPod],
    marks: Option<&Marks>,
) -> Result<(Vec<Step>, Vec<Prepared>), NameError> {
    let mut steps = Vec::new();
    let mut prepared = Vec::new();
    let Some(marks) = marks.filter(|_| input.asked.any_empty) else {
        return Ok((steps, prepared));
    };
    for pod in pods {
        let Some(server) = endpoints(pod).next() else {
            continue;
        };
        let text = marks.name(ZoneName::Big, planner.next(), 0)?;
        let pod = Prepared {
            place: place(pod),
            server,
            text,
        };
        steps.push(pod.ask(planner, Lever::Text, Transport::Tcp, &pod.text));
        prepared.push(pod);
    }
    Ok((steps, prepared))
}

/// The questions whose answers are measured.
pub(super) fn plan(planner: &mut Planner, prepared: &[Prepared], marks: Option<&Marks>) -> Vec<Step> {
    let Some(apex) = marks.map(Marks::zone) else {
        return Vec::new();
    };
    let levers = |pod: &Prepared| {
        [
            (Lever::Any, apex.clone()),
            (Lever::Keys, apex.clone()),
            (Lever::Text, pod.text.clone()),
        ]
    };
    let mut steps = Vec::new();
    for pod in prepared {
        for (lever, name) in levers(pod) {
            steps.push(pod.ask(planner, lever, Transport::Udp, &name));
        }
    }
    steps
}

impl Prepared {
    fn ask(&self, planner: &mut Planner, lever: Lever, transport: Transport, name: &DomainName) -> Step {
        let question = DnsQuestion {
            server: self.server,
            transport,
            name: name.clone(),
            qtype: match lever {
                Lever::Any => QueryType::Any,
                Lever::Keys => QueryType::Dnskey,
                Lever::Text => QueryType::Txt,
            },
            qclass: QueryClass::In,
            edns: Some(OFFERED),
            validator: Some(Validator::Server),
        };
        planner.step(Aim::Lever(lever), self.place.clone(), Ask::Dns(question))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{
        Availability,
        fixture::{input, marks},
        plan_round,
    };

    fn asked(steps: &[Step]) -> Vec<(&Place, &DnsQuestion)> {
        let levers = steps
            .iter()
            .filter(|(purpose, _)| matches!(purpose.aim, Aim::Lever(_)));
        levers
            .map(|(purpose, probe)| match &probe.ask {
                Ask::Dns(question) => (&purpose.place, question),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn the_text_that_is_measured_over_udp_was_asked_for_over_tcp_before() {
        let round = plan_round(&input(2), "n0nce", Some(&marks())).unwrap();
        let filled = asked(&round.warm);
        let measured = asked(&round.inside);
        assert_eq!((filled.len(), measured.len()), (2, 6));
        for (place, first) in filled {
            assert_eq!(first.transport, Transport::Tcp);
            let again: Vec<_> = measured
                .iter()
                .filter(|(there, question)| *there == place && question.name == first.name)
                .collect();
            let [(_, second)] = again[..] else {
                panic!("{again:?}")
            };
            assert_eq!(
                (second.transport, second.qtype, second.edns),
                (Transport::Udp, QueryType::Txt, Some(4096))
            );
            assert_eq!(
                second.validator, first.validator,
                "a cache keeps answers with signatures apart"
            );
        }
        let types = |kind| {
            measured
                .iter()
                .filter(|(_, question)| question.qtype == kind)
                .count()
        };
        assert_eq!(
            [QueryType::Any, QueryType::Dnskey, QueryType::Txt].map(types),
            [2, 2, 2]
        );
    }

    #[test]
    fn nothing_is_measured_that_nobody_asks_for_or_that_no_zone_serves() {
        let mut quiet = input(1);
        quiet.asked.any_empty = false;
        let mut deaf = input(1);
        deaf.zone = Availability::Missing("it does not run".into());
        for input in [quiet, deaf] {
            let round = plan_round(&input, "n0nce", Some(&marks())).unwrap();
            assert!(
                round
                    .steps()
                    .all(|(purpose, _)| !matches!(purpose.aim, Aim::Lever(_)))
            );
        }
    }
}
