//! The series of a round: names of the probe zones, which hear how they are asked, and names that go to the upstreams.

use std::num::NonZeroU16;

use jiff::{SignedDuration, Timestamp};
use tsutsumi_model::{Ask, DomainName, Endpoint, Mark, MarkKey, NameError, Series, ZoneName};

use super::{
    Aim, Place, RoundInput, RoundPod, Step,
    questions::{Planner, endpoints, place, resolvers},
};

/// How many names of a probe zone whoever asks it is asked for: what the rule for ports wants.
pub(super) const PORTS: u16 = 256;
/// How many a pod of cluster DNS is asked for where resolvers of ours stand behind it and are asked themselves. They show
/// who asks for the pod; should that be itself, they are the fewest that the rule judges.
pub(super) const PORTS_THROUGH: u16 = 64;
/// The same for the zone outside, where an address tells nothing of who asks: enough to show that the way leads there, even
/// where one of them is lost.
pub(super) const PORTS_THROUGH_OUTSIDE: u16 = 20;
const PORTS_PER_SECOND: NonZeroU16 = NonZeroU16::new(100).expect("100 is not 0");

/// How many forwarded names every pod is asked for.
pub(super) const UPSTREAMS: u16 = 32;
const UPSTREAMS_PER_SECOND: NonZeroU16 = NonZeroU16::new(16).expect("16 is not 0");

/// How long a name counts at the probe zone: longer than any round takes, shorter than a replay is worth.
const LIFETIME: SignedDuration = SignedDuration::from_mins(10);

/// Makes the names of the probe zones that one round asks for.
#[derive(Clone, Debug)]
pub struct Marks {
    zone: DomainName,
    outside: Option<DomainName>,
    key: MarkKey,
    first_sample: u32,
    expires: u32,
}

impl Marks {
    /// Names below `zone` that count from `now` on; `first_sample`, chosen at random, keeps rounds apart.
    #[must_use]
    pub fn new(zone: DomainName, key: MarkKey, first_sample: u32, now: Timestamp) -> Self {
        let expires = now.saturating_add(LIFETIME).unwrap_or(Timestamp::MAX).as_second();
        Self {
            zone,
            outside: None,
            key,
            first_sample,
            expires: u32::try_from(expires).unwrap_or(u32::MAX),
        }
    }

    /// The same, with names of the zone outside, which knows the same key.
    #[must_use]
    pub fn and_outside(self, zone: DomainName) -> Self {
        Self {
            outside: Some(zone),
            ..self
        }
    }

    /// The zone.
    pub(super) const fn zone(&self) -> &DomainName {
        &self.zone
    }

    /// Under which number the zone remembers what came of the probe with this id.
    #[must_use]
    pub const fn sample(&self, probe: u32) -> u32 {
        self.first_sample.wrapping_add(probe)
    }

    /// A name that nobody asked for before.
    pub(super) fn name(&self, name: ZoneName, probe: u32, number: u16) -> Result<DomainName, NameError> {
        self.name_in(&self.zone, name, probe, number)
    }

    fn name_in(
        &self,
        zone: &DomainName,
        name: ZoneName,
        probe: u32,
        number: u16,
    ) -> Result<DomainName, NameError> {
        let mark = Mark {
            name,
            sample: self.sample(probe),
            number,
            expires: self.expires,
        };
        mark.name_in(zone, &self.key)
    }
}

/// Series for names of the probe zone, and for each pod of cluster DNS one that leads to its upstreams.
pub(super) fn plan(
    planner: &mut Planner,
    input: &RoundInput,
    pods: &[&RoundPod],
    marks: Option<&Marks>,
) -> Result<Vec<Step>, NameError> {
    let mut steps = Vec::new();
    if !input.asked.random_ports {
        return Ok(steps);
    }
    for pod in pods {
        let Some(server) = endpoints(pod).next() else {
            continue;
        };
        let names = (0..UPSTREAMS).map(|number| planner.forwarded(number)).collect();
        let ask = series(server, names, UPSTREAMS_PER_SECOND);
        steps.push(planner.step(Aim::Upstreams, place(pod), ask));
    }
    if let Some(marks) = marks {
        steps.extend(ports(planner, Aim::Ports, input, pods, marks, &marks.zone)?);
    }
    Ok(steps)
}

/// Series for names of the zone outside.
pub(super) fn plan_outside(
    planner: &mut Planner,
    input: &RoundInput,
    pods: &[&RoundPod],
    marks: Option<&Marks>,
) -> Result<Vec<Step>, NameError> {
    let zone = marks.and_then(|marks| Some((marks, marks.outside.as_ref()?)));
    match zone.filter(|_| input.asked.random_ports) {
        Some((marks, zone)) => ports(planner, Aim::PortsOutside, input, pods, marks, zone),
        None => Ok(Vec::new()),
    }
}

/// Series for names of one zone: one for each pod of cluster DNS and of the managed resolver, at its first address.
fn ports(
    planner: &mut Planner,
    aim: Aim,
    input: &RoundInput,
    pods: &[&RoundPod],
    marks: &Marks,
    zone: &DomainName,
) -> Result<Vec<Step>, NameError> {
    let through = match aim {
        _ if input.resolvers.is_empty() => PORTS,
        Aim::PortsOutside => PORTS_THROUGH_OUTSIDE,
        _ => PORTS_THROUGH,
    };
    let pods = pods
        .iter()
        .filter_map(|pod| Some((place(pod), endpoints(pod).next()?, through)));
    let resolvers = resolvers(input).map(|(place, server)| (place, server, PORTS));
    let asked: Vec<(Place, Endpoint, u16)> = pods.chain(resolvers).collect();
    let mut steps = Vec::new();
    for (place, server, count) in asked {
        let probe = planner.next();
        let names = (0..count).map(|number| marks.name_in(zone, ZoneName::Port, probe, number));
        let ask = series(server, names.collect::<Result<_, _>>()?, PORTS_PER_SECOND);
        steps.push(planner.step(aim, place, ask));
    }
    Ok(steps)
}

fn series(server: Endpoint, names: Vec<DomainName>, per_second: NonZeroU16) -> Ask {
    Ask::Series(Series {
        server,
        names,
        per_second,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tsutsumi_controls::{Purpose, Round};

    use super::*;
    use crate::verify::{
        Availability,
        fixture::{KEY, NOW, input, marks},
        plan_round,
    };

    fn series(round: &Round) -> Vec<(&Purpose, u32, &Series)> {
        round
            .series
            .iter()
            .chain(&round.series_outside)
            .map(|(purpose, probe)| match &probe.ask {
                Ask::Series(series) => (purpose, probe.id, series),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn without_a_managed_resolver_every_pod_is_asked_as_much_as_the_rule_wants() {
        let mut alone = input(2);
        alone.resolvers.clear();
        let round = plan_round(&alone, "n0nce", Some(&marks())).unwrap();
        let lengths: Vec<(Aim, usize)> = series(&round)
            .iter()
            .map(|(purpose, _, series)| (purpose.aim, series.names.len()))
            .collect();
        let whole = [Aim::Ports, Aim::PortsOutside].map(|aim| [(aim, usize::from(PORTS)); 2]);
        assert_eq!(lengths[2..], whole.concat());
    }

    #[test]
    fn every_pod_has_names_of_its_own_that_the_zone_can_tell_apart() {
        let marks = marks();
        let round = plan_round(&input(2), "n0nce", Some(&marks)).unwrap();
        let mut seen = BTreeSet::new();
        for (purpose, id, series) in series(&round) {
            assert!(series.names.len() <= Series::LONGEST);
            assert!(
                series.names.iter().all(|name| seen.insert(name.to_string())),
                "once each"
            );
            if purpose.aim == Aim::Upstreams {
                assert_eq!(series.names.len(), usize::from(UPSTREAMS));
                assert!(
                    series
                        .names
                        .iter()
                        .all(|name| name.as_str().ends_with(".tsutsumi-probe.test"))
                );
                continue;
            }
            let (zone, through) = match purpose.aim {
                Aim::PortsOutside => (".probe-outside.tsutsumi.test", PORTS_THROUGH_OUTSIDE),
                _ => (".probe.tsutsumi.test", PORTS_THROUGH),
            };
            let count = match purpose.place {
                Place::Resolver(_) => PORTS,
                _ => through,
            };
            assert_eq!(series.names.len(), usize::from(count), "{purpose:?}");
            for (name, number) in series.names.iter().zip(0..) {
                let label = name.as_str().strip_suffix(zone).unwrap();
                let mark = Mark::read(
                    label,
                    &MarkKey::new(KEY),
                    60 + u64::try_from(NOW.as_second()).unwrap(),
                )
                .unwrap();
                assert_eq!(
                    (mark.name, mark.sample, mark.number),
                    (ZoneName::Port, marks.sample(id), number)
                );
            }
        }
        let of_pods = 2 * (PORTS_THROUGH + PORTS_THROUGH_OUTSIDE + UPSTREAMS);
        assert_eq!(seen.len(), usize::from(of_pods + 2 * PORTS));
        assert!(
            round
                .series
                .iter()
                .all(|(purpose, _)| purpose.aim != Aim::PortsOutside),
            "no zone is asked while the other one is"
        );
    }

    #[test]
    fn a_round_asks_less_than_1500_questions() {
        let mut managed = input(2);
        managed.resolvers.push(RoundPod {
            label: "tsutsumi/tsutsumi-unbound-town-1".into(),
            ..managed.resolvers[0].clone()
        });
        let mut alone = input(2);
        alone.resolvers.clear();
        let questions = |ask: &Ask| match ask {
            Ask::Dns(_) | Ask::Root(_) => 1,
            Ask::Series(series) => series.names.len(),
            Ask::Metrics(_) => 0,
        };
        for input in [managed, alone] {
            let round = plan_round(&input, "n0nce", Some(&marks())).unwrap();
            let asked: usize = round.steps().map(|(_, probe)| questions(&probe.ask)).sum();
            assert!((600..1500).contains(&asked), "{asked} questions");
        }
    }

    #[test]
    fn a_name_is_over_before_long() {
        let marks = marks();
        let name = marks.name(ZoneName::Port, 1, 1).unwrap();
        let label = name.as_str().strip_suffix(".probe.tsutsumi.test").unwrap();
        let later = u64::try_from(NOW.as_second()).unwrap() + 601;
        assert!(Mark::read(label, &MarkKey::new(KEY), later).is_err());
    }

    #[test]
    fn nothing_is_asked_that_nobody_wants_or_hears() {
        let mut input = input(1);
        input.zone = Availability::Missing("it does not run".into());
        let aims = |round: &Round| {
            series(round)
                .iter()
                .map(|(purpose, ..)| purpose.aim)
                .collect::<Vec<_>>()
        };
        let deaf = plan_round(&input, "n0nce", None).unwrap();
        assert!(deaf.series_outside.is_empty(), "there is nothing to compare with");
        assert_eq!(aims(&deaf), [Aim::Upstreams]);
        assert_eq!(deaf.after.len(), 1);
        input.zone = Availability::Present;
        input.zone_outside = Availability::Missing("nobody runs one".into());
        let near = plan_round(&input, "n0nce", Some(&marks())).unwrap();
        assert_eq!(aims(&near), [Aim::Upstreams, Aim::Ports, Aim::Ports]);
        input.zone_outside = Availability::Present;
        let both = plan_round(&input, "n0nce", Some(&marks())).unwrap();
        assert_eq!(
            aims(&both),
            [
                Aim::Upstreams,
                Aim::Ports,
                Aim::Ports,
                Aim::PortsOutside,
                Aim::PortsOutside
            ],
            "of the pod and of the resolver behind it"
        );
        input.asked.random_ports = false;
        let none = plan_round(&input, "n0nce", Some(&marks())).unwrap();
        assert!(aims(&none).is_empty() && none.after.is_empty());
    }
}
