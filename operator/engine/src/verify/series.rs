//! The series of a round: names of the probe zone, which hears how it is asked, and names that go to the upstreams.

use std::num::NonZeroU16;

use jiff::{SignedDuration, Timestamp};
use tsutsumi_model::{Ask, DomainName, Endpoint, Mark, MarkKey, NameError, Series, ZoneName};

use super::{
    Aim, RoundInput, RoundPod, Step,
    questions::{Planner, endpoints, place},
};

/// How many names of the probe zone every pod is asked for: what the rule for ports wants.
pub(super) const PORTS: u16 = 256;
const PORTS_PER_SECOND: NonZeroU16 = NonZeroU16::new(40).expect("40 is not 0");

/// How many forwarded names every pod is asked for.
pub(super) const UPSTREAMS: u16 = 32;
const UPSTREAMS_PER_SECOND: NonZeroU16 = NonZeroU16::new(8).expect("8 is not 0");

/// How long a name counts at the probe zone: longer than any round takes, shorter than a replay is worth.
const LIFETIME: SignedDuration = SignedDuration::from_mins(10);

/// Makes the names of a probe zone that one round asks for.
#[derive(Clone, Debug)]
pub struct Marks {
    zone: DomainName,
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
            key,
            first_sample,
            expires: u32::try_from(expires).unwrap_or(u32::MAX),
        }
    }

    /// Under which number the zone remembers what came of the probe with this id.
    #[must_use]
    pub const fn sample(&self, probe: u32) -> u32 {
        self.first_sample.wrapping_add(probe)
    }

    /// A name that nobody asked for before.
    pub(super) fn name(&self, name: ZoneName, probe: u32, number: u16) -> Result<DomainName, NameError> {
        let mark = Mark {
            name,
            sample: self.sample(probe),
            number,
            expires: self.expires,
        };
        mark.name_in(&self.zone, &self.key)
    }
}

/// One series for each pod and each thing that it is to show, at the first of the pod's addresses.
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
        if let Some(marks) = marks {
            let probe = planner.next();
            let names = (0..PORTS).map(|number| marks.name(ZoneName::Port, probe, number));
            let ask = series(server, names.collect::<Result<_, _>>()?, PORTS_PER_SECOND);
            steps.push(planner.step(Aim::Ports, place(pod), ask));
        }
        let names = (0..UPSTREAMS).map(|number| planner.forwarded(number)).collect();
        let ask = series(server, names, UPSTREAMS_PER_SECOND);
        steps.push(planner.step(Aim::Upstreams, place(pod), ask));
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
            .map(|(purpose, probe)| match &probe.ask {
                Ask::Series(series) => (purpose, probe.id, series),
                other => panic!("{other:?}"),
            })
            .collect()
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
            if purpose.aim != Aim::Ports {
                assert_eq!(series.names.len(), usize::from(UPSTREAMS));
                assert!(
                    series
                        .names
                        .iter()
                        .all(|name| name.as_str().ends_with(".tsutsumi-probe.test"))
                );
                continue;
            }
            assert_eq!(series.names.len(), usize::from(PORTS));
            for (name, number) in series.names.iter().zip(0..) {
                let label = name.as_str().strip_suffix(".probe.tsutsumi.test").unwrap();
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
        assert_eq!(seen.len(), 2 * usize::from(PORTS + UPSTREAMS));
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
        assert_eq!(aims(&deaf), [Aim::Upstreams]);
        assert_eq!(deaf.after.len(), 1);
        input.asked.random_ports = false;
        let none = plan_round(&input, "n0nce", Some(&marks())).unwrap();
        assert!(none.series.is_empty() && none.after.is_empty());
    }
}
