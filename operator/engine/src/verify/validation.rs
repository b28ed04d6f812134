//! Names of the probe zone that tell whether a resolver validates, asked at the address that pods ask, of every pod of
//! cluster DNS and of the resolver behind it.

use tsutsumi_model::{Ask, DnsQuestion, NameError, Transport};

use super::{
    Aim, Place, RoundInput, RoundPod, Step, Trial,
    questions::{Planner, resolving},
    series::Marks,
};

/// How many aliases stand before the good name of a chain.
const ALIASES: u16 = 3;

/// One question for each trial at the Service and at the first address of each pod.
pub(super) fn plan(
    planner: &mut Planner,
    input: &RoundInput,
    pods: &[&RoundPod],
    marks: Option<&Marks>,
) -> Result<Vec<Step>, NameError> {
    let mut steps = Vec::new();
    let Some(marks) = marks.filter(|_| input.asked.validation) else {
        return Ok(steps);
    };
    let service = input.service.map(|server| (Place::Service, server));
    for (place, server) in resolving(input, pods).chain(service) {
        for trial in Trial::ALL {
            let name = marks.name(trial.name(), planner.next(), ALIASES)?;
            let question = DnsQuestion {
                validator: Some(trial.validator()),
                ..DnsQuestion::ordinary(server, Transport::Udp, name)
            };
            steps.push(planner.step(Aim::Validation(trial), place.clone(), Ask::Dns(question)));
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::verify::{
        Availability,
        fixture::{input, marks},
        plan_round,
    };

    fn trials(input: &RoundInput) -> Vec<(Place, DnsQuestion)> {
        let round = plan_round(input, "n0nce", Some(&marks())).unwrap();
        round
            .inside
            .into_iter()
            .filter(|(purpose, _)| matches!(purpose.aim, Aim::Validation(_)))
            .map(|(purpose, probe)| match probe.ask {
                Ask::Dns(question) => (purpose.place, question),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn the_service_every_pod_and_every_resolver_are_tried_with_names_of_their_own() {
        let asked = trials(&input(2));
        let places: BTreeSet<&Place> = asked.iter().map(|(place, _)| place).collect();
        assert_eq!(places.len(), 4);
        assert!(places.contains(&Place::Service));
        let names: BTreeSet<String> = asked
            .iter()
            .map(|(_, question)| question.name.to_string())
            .collect();
        assert_eq!(names.len(), 4 * Trial::ALL.len());
        assert!(asked.iter().all(|(_, question)| question.validator.is_some()));
        let unsigned = names
            .iter()
            .filter(|name| name.ends_with(".insecure.probe.tsutsumi.test"));
        assert_eq!(unsigned.count(), 4, "they stand in the unsigned zone");
    }

    #[test]
    fn nothing_is_tried_that_nobody_asks_for_or_that_no_zone_serves() {
        let mut quiet = input(1);
        quiet.asked.validation = false;
        assert!(trials(&quiet).is_empty());
        let mut deaf = input(1);
        deaf.zone = Availability::Missing("it does not run".into());
        assert!(trials(&deaf).is_empty());
    }
}
