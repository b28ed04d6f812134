//! What a managed resolver starts from: which keys are trusted, asked by sentinel names of the probe zone at every pod on
//! the path, and what the root says of its servers and keys, asked through every pod of the resolver.

use tsutsumi_model::{Ask, DnsQuestion, NameError, RootQuestion, RootWanted, Transport, Validator, ZoneName};

use super::{
    Aim, Root, RoundInput, RoundPod, Sentinel, Step,
    questions::{Planner, resolvers, resolving},
    series::Marks,
};

/// The most keys that are asked for, beside the one that nobody has. The root has two while it goes to another one.
const MAX_KEYS: usize = 6;
/// The most questions about servers to one pod. The Internet's root makes 27.
const MAX_QUESTIONS: usize = 64;

/// Sentinels at the first address of every pod, and questions about the root at that of each pod of the resolver.
pub(super) fn plan(
    planner: &mut Planner,
    input: &RoundInput,
    pods: &[&RoundPod],
    marks: Option<&Marks>,
) -> Result<Vec<Step>, NameError> {
    let mut steps = Vec::new();
    let Root::Known(start) = &input.root else {
        return Ok(steps);
    };
    let (tags, absent) = start.tags();
    if let Some(marks) = marks.filter(|_| input.asked.validation) {
        for (place, server) in resolving(input, pods) {
            for tag in tags.iter().copied().take(MAX_KEYS).chain([absent]) {
                for sentinel in Sentinel::ALL {
                    let mark = marks.name(ZoneName::Sentinel, planner.next(), 0)?;
                    let name = mark.child(&sentinel.label(tag))?;
                    let question = DnsQuestion {
                        validator: Some(Validator::Server),
                        ..DnsQuestion::ordinary(server, Transport::Udp, name)
                    };
                    steps.push(planner.step(Aim::Sentinel(sentinel, tag), place.clone(), Ask::Dns(question)));
                }
            }
        }
    }
    for (place, server) in resolvers(input) {
        let keys = input
            .asked
            .validation
            .then_some((Aim::RootKeys, RootWanted::Keys));
        for (aim, wanted) in keys.into_iter().chain(start.wanted().take(MAX_QUESTIONS)) {
            let ask = Ask::Root(RootQuestion { server, wanted });
            steps.push(planner.step(aim, place.clone(), ask));
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::verify::{
        Availability, Place,
        fixture::{input, marks},
        plan_round,
    };

    type Asked = Vec<(Place, String)>;

    /// What is asked for sentinels, and about the root.
    fn asked(input: &RoundInput) -> (Asked, Asked) {
        let round = plan_round(input, "n0nce", Some(&marks())).unwrap();
        let mut found = (vec![], vec![]);
        for (purpose, probe) in round.inside {
            match (purpose.aim, probe.ask) {
                (Aim::Sentinel(..), Ask::Dns(question)) => {
                    assert_eq!(question.validator, Some(Validator::Server));
                    found.0.push((purpose.place, question.name.to_string()));
                }
                (_, Ask::Root(question)) => found.1.push((purpose.place, question.wanted.to_string())),
                _ => {}
            }
        }
        found
    }

    #[test]
    fn every_pod_on_the_path_says_which_keys_it_trusts_by_names_of_its_own() {
        let (sentinels, _) = asked(&input(2));
        let places: BTreeSet<&Place> = sentinels.iter().map(|(place, _)| place).collect();
        assert_eq!((places.len(), sentinels.len()), (3, 3 * 4));
        let labels: BTreeSet<&str> = sentinels
            .iter()
            .filter_map(|(_, name)| Some(name.split_once('.')?.0))
            .collect();
        assert_eq!(
            labels.into_iter().collect::<Vec<_>>(),
            [
                "root-key-sentinel-is-ta-00001",
                "root-key-sentinel-is-ta-38696",
                "root-key-sentinel-not-ta-00001",
                "root-key-sentinel-not-ta-38696",
            ]
        );
        let marks: BTreeSet<&str> = sentinels
            .iter()
            .filter_map(|(_, name)| Some(name.split_once('.')?.1))
            .collect();
        assert_eq!(marks.len(), sentinels.len(), "no cache has any of them");
    }

    #[test]
    fn the_root_is_asked_for_through_the_resolver_alone() {
        let (_, about) = asked(&input(2));
        assert!(about.iter().all(|(place, _)| matches!(place, Place::Resolver(_))));
        let wanted: Vec<&str> = about.iter().map(|(_, wanted)| wanted.as_str()).collect();
        assert_eq!(wanted, [". DNSKEY", ". NS", "a.root.town A", "a.root.town AAAA"]);
    }

    #[test]
    fn keys_count_only_where_something_is_validated_and_nothing_is_asked_of_a_root_that_is_not_known() {
        let mut lax = input(1);
        lax.asked.validation = false;
        let (sentinels, about) = asked(&lax);
        assert!(sentinels.is_empty());
        assert_eq!(about.len(), 3, "{about:?}");
        let mut deaf = input(1);
        deaf.zone = Availability::Missing("it does not run".into());
        let (sentinels, about) = asked(&deaf);
        assert_eq!((sentinels.len(), about.len()), (0, 4));
        for root in [Root::Unasked, Root::Unknown("it is rolled out".into())] {
            let blind = RoundInput { root, ..input(1) };
            assert_eq!(asked(&blind), (vec![], vec![]));
        }
    }

    #[test]
    fn questions_are_bounded() {
        let mut many = input(1);
        let Root::Known(start) = &mut many.root else {
            panic!("{:?}", many.root);
        };
        let (name, addresses) = start.servers.pop_first().unwrap();
        start.servers = (0..100)
            .map(|number| (name.child(&format!("s{number}")).unwrap(), addresses.clone()))
            .collect();
        start.keys = (100..200)
            .map(|tag| tsutsumi_model::RootKey::new(tag, 13, &[0; 32]))
            .collect();
        let (sentinels, about) = asked(&many);
        assert_eq!(
            (sentinels.len(), about.len()),
            (2 * 2 * (MAX_KEYS + 1), MAX_QUESTIONS + 1)
        );
    }
}
