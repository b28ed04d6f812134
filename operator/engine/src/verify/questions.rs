//! Which questions a round asks, of whom, in which order.
//!
//! First the cache of every pod is filled from inside; then the outside asks, cached names before anything else, since
//! answers stay in a cache for seconds; then the rest from inside, and what takes seconds last. The number of addresses
//! is bounded, and what is beyond the bound the controls hold to be unproven. The order of the input never changes the
//! round.

use std::collections::BTreeSet;

use tsutsumi_model::{
    Ask, DnsQuestion, DomainName, Endpoint, NameError, Probe, QueryClass, QueryType, Transport,
};

use super::{
    Aim, Availability, Place, Purpose, Round, RoundInput, RoundPod, Step, Warmed, levers, past, roots,
    series::{self, Marks},
    validation,
};

/// The most pods that a round probes.
pub const MAX_PODS: usize = 64;
/// The most pods of a managed resolver that a round probes.
const MAX_RESOLVERS: usize = 16;
/// The most exposed addresses that a round probes.
pub const MAX_EXPOSED: usize = 64;
/// The most zones with a server block of their own that a round asks for.
pub const MAX_ZONES: usize = 8;
/// The headless Service with a big answer, in our own namespace.
pub const LARGE_ANSWER: &str = "tsutsumi-large-answer";

/// Below this name nothing exists (RFC 6761, 6.2), so it is forwarded and denied.
const FORWARDED_ABSENT: &str = "tsutsumi-probe.test";

const BOTH: [Transport; 2] = [Transport::Udp, Transport::Tcp];

/// Plans a round. The nonce, a DNS label that was never used before, makes names that no cache holds; the marks make
/// those of the probe zone, where there is one.
///
/// # Errors
/// If the nonce or the namespace is no DNS label, or a name gets too long with it.
pub fn plan_round(input: &RoundInput, nonce: &str, marks: Option<&Marks>) -> Result<Round, NameError> {
    let names = Names::new(input, nonce)?;
    let pods = pods(input);
    let mut plan = Planner { names, next: 0 };
    let marks = marks.filter(|_| input.zone == Availability::Present);
    let inside = input.inside == Availability::Present;
    let outside = input.outside == Availability::Present;
    let mut round = Round::default();
    let mut prepared = Vec::new();
    if inside {
        let (texts, pods_with_text) = levers::prepare(&mut plan, input, &pods, marks)?;
        round.warm = texts;
        round.warm.extend(plan.warm(&pods));
        prepared = pods_with_text;
    }
    if outside {
        round.outside = plan.outside(&pods, &exposed(input));
        round
            .outside
            .extend(past::plan(&mut plan, input, Aim::ForeignAlive)?);
    }
    if inside {
        round.inside = plan.inside(&pods);
        round
            .inside
            .extend(validation::plan(&mut plan, input, &pods, marks)?);
        round.inside.extend(roots::plan(&mut plan, input, &pods, marks)?);
        round.inside.extend(levers::plan(&mut plan, &prepared, marks));
        round
            .inside
            .extend(past::plan(&mut plan, input, Aim::PastClusterDns)?);
        round.series = series::plan(&mut plan, input, &pods, marks)?;
    }
    if !round.series.is_empty() {
        round.after = pods
            .iter()
            .filter_map(|pod| plan.metrics(Aim::MetricsAfter, pod))
            .collect();
    }
    if inside && input.zone_outside == Availability::Present {
        round.series_outside = series::plan_outside(&mut plan, input, &pods, marks)?;
    }
    Ok(round)
}

/// The zones of a Corefile's server blocks, from the blocks' keys: without the root, which every other name belongs
/// to, without networks, and without what is served over other transports than plain DNS.
#[must_use]
pub fn zones_of_keys<'a>(keys: impl IntoIterator<Item = &'a str>) -> Vec<DomainName> {
    let zones: BTreeSet<DomainName> = keys
        .into_iter()
        .filter_map(|key| match key.split_once("://") {
            None => Some(key),
            Some(("dns", rest)) => Some(rest),
            Some(_) => None,
        })
        .map(|key| key.rsplit_once(':').map_or(key, |(zone, _port)| zone))
        .filter_map(|zone| zone.parse().ok())
        .collect();
    zones.into_iter().collect()
}

/// The names of a round.
struct Names {
    cluster: DomainName,
    cluster_parent: DomainName,
    large: DomainName,
    forwarded_absent: DomainName,
    forwarded_parent: DomainName,
    forwarded_present: Option<DomainName>,
    chaos: DomainName,
    zones: Vec<DomainName>,
    nonce: String,
}

impl Names {
    fn new(input: &RoundInput, nonce: &str) -> Result<Self, NameError> {
        let services = input.cluster_domain.child("svc")?;
        let cluster_parent = services.child("default")?;
        let forwarded_parent: DomainName = FORWARDED_ABSENT.parse()?;
        // The longest label of a fresh name, so that every later one fits.
        cluster_parent.child(&fresh_label(u32::MAX, nonce))?;
        let mut zones: Vec<DomainName> = input
            .zones
            .iter()
            .filter(|zone| **zone != input.cluster_domain)
            .cloned()
            .collect();
        zones.sort();
        zones.dedup();
        zones.truncate(MAX_ZONES);
        Ok(Self {
            cluster: cluster_parent.child("kubernetes")?,
            large: services.child(&input.namespace)?.child(LARGE_ANSWER)?,
            forwarded_absent: forwarded_parent.child(nonce)?,
            forwarded_present: input.forwarded_name.clone(),
            chaos: "version.bind".parse()?,
            cluster_parent,
            forwarded_parent,
            zones,
            nonce: nonce.to_owned(),
        })
    }

    /// The names that are put into caches.
    fn warmed(&self) -> Vec<(Warmed, DomainName)> {
        let mut warmed = vec![
            (Warmed::Cluster, self.cluster.clone()),
            (Warmed::ForwardedAbsent, self.forwarded_absent.clone()),
        ];
        warmed.extend(
            self.forwarded_present
                .clone()
                .map(|name| (Warmed::ForwardedPresent, name)),
        );
        warmed
    }

    /// Below what fresh names are asked for.
    fn parents(&self) -> Vec<DomainName> {
        let mut parents = vec![self.cluster_parent.clone(), self.forwarded_parent.clone()];
        parents.extend(self.zones.iter().cloned());
        parents
    }
}

fn fresh_label(number: u32, nonce: &str) -> String {
    format!("f{number}-{nonce}")
}

/// Hands out numbers, and with them fresh names.
pub(super) struct Planner {
    names: Names,
    next: u32,
}

impl Planner {
    fn warm(&mut self, pods: &[&RoundPod]) -> Vec<Step> {
        let mut steps = Vec::new();
        for pod in pods {
            for server in endpoints(pod) {
                for (warmed, name) in self.names.warmed() {
                    steps.push(self.ask(Aim::WarmUp(warmed), &place(pod), server, Transport::Udp, &name));
                }
            }
        }
        steps
    }

    fn outside(&mut self, pods: &[&RoundPod], exposed: &[(Place, Endpoint, Vec<Transport>)]) -> Vec<Step> {
        let mut targets = exposed.to_vec();
        for pod in pods {
            targets.extend(endpoints(pod).map(|server| (place(pod), server, BOTH.to_vec())));
        }
        let mut steps = Vec::new();
        for (place, server, transports) in &targets {
            for (warmed, name) in self.names.warmed() {
                for transport in transports {
                    steps.push(self.ask(Aim::OutsideWarmed(warmed), place, *server, *transport, &name));
                }
            }
        }
        for (place, server, transports) in &targets {
            for transport in transports {
                for parent in self.names.parents() {
                    let name = self.fresh(&parent);
                    steps.push(self.ask(Aim::OutsideFresh, place, *server, *transport, &name));
                }
                let (cluster, chaos) = (self.names.cluster.clone(), self.names.chaos.clone());
                steps.push(self.ask(Aim::OutsideAny, place, *server, *transport, &cluster));
                steps.push(self.ask(Aim::OutsideChaos, place, *server, *transport, &chaos));
            }
        }
        steps
    }

    fn inside(&mut self, pods: &[&RoundPod]) -> Vec<Step> {
        let mut steps = Vec::new();
        for pod in pods {
            let place = place(pod);
            for server in endpoints(pod) {
                let (cluster, large) = (self.names.cluster.clone(), self.names.large.clone());
                let any: Vec<DomainName> = [cluster.clone()]
                    .into_iter()
                    .chain(self.names.forwarded_present.clone())
                    .collect();
                for transport in BOTH {
                    steps.push(self.ask(Aim::InsideServed, &place, server, transport, &cluster));
                    for name in &any {
                        steps.push(self.ask(Aim::InsideAny, &place, server, transport, name));
                    }
                }
                steps.push(self.ask(Aim::SizeWith4096, &place, server, Transport::Udp, &large));
                steps.push(self.ask(Aim::SizeWithoutEdns, &place, server, Transport::Udp, &large));
                steps.push(self.ask(Aim::SizeOverTcp, &place, server, Transport::Tcp, &large));
            }
            steps.extend(self.metrics(Aim::Metrics, pod));
        }
        steps
    }

    fn metrics(&mut self, aim: Aim, pod: &RoundPod) -> Option<Step> {
        pod.metrics
            .map(|endpoint| self.step(aim, place(pod), Ask::Metrics(endpoint)))
    }

    /// The number of the step that comes next.
    pub(super) const fn next(&self) -> u32 {
        self.next
    }

    /// A forwarded name that nobody asked for before; a step may have several, by number.
    pub(super) fn forwarded(&self, number: u16) -> DomainName {
        let parent = &self.names.forwarded_absent;
        let label = format!("s{}-{number}", self.next);
        parent.child(&label).unwrap_or_else(|_| parent.clone())
    }

    /// A step with the next number.
    pub(super) fn step(&mut self, aim: Aim, place: Place, ask: Ask) -> Step {
        let id = self.next;
        self.next += 1;
        (Purpose { aim, place }, Probe { id, ask })
    }

    /// A name that nobody asked for before; the parent itself where the name would get too long.
    fn fresh(&self, parent: &DomainName) -> DomainName {
        parent
            .child(&fresh_label(self.next, &self.names.nonce))
            .unwrap_or_else(|_| parent.clone())
    }

    fn ask(
        &mut self,
        aim: Aim,
        place: &Place,
        server: Endpoint,
        transport: Transport,
        name: &DomainName,
    ) -> Step {
        let (qtype, qclass) = match aim {
            Aim::OutsideAny | Aim::InsideAny => (QueryType::Any, QueryClass::In),
            Aim::OutsideChaos => (QueryType::Txt, QueryClass::Ch),
            _ => (QueryType::A, QueryClass::In),
        };
        let edns = match aim {
            Aim::SizeWith4096 | Aim::SizeOverTcp => Some(4096),
            Aim::SizeWithoutEdns => None,
            _ => Some(DnsQuestion::ORDINARY_EDNS),
        };
        let question = DnsQuestion {
            qtype,
            qclass,
            edns,
            ..DnsQuestion::ordinary(server, transport, name.clone())
        };
        self.step(aim, place.clone(), Ask::Dns(question))
    }
}

/// The pods that a round probes, sorted: those that serve before those that do not.
fn pods(input: &RoundInput) -> Vec<&RoundPod> {
    let mut pods: Vec<&RoundPod> = input.pods.iter().collect();
    pods.sort_by_key(|pod| (!pod.ready, &pod.label));
    pods.truncate(MAX_PODS);
    pods
}

/// Where names are resolved, each by its first address: the pods of cluster DNS, and those of the managed resolver.
pub(super) fn resolving(input: &RoundInput, pods: &[&RoundPod]) -> impl Iterator<Item = (Place, Endpoint)> {
    let pods = pods
        .iter()
        .filter_map(|pod| Some((place(pod), endpoints(pod).next()?)));
    pods.chain(resolvers(input))
}

/// The pods of the managed resolver that a round probes, sorted: those that serve before those that do not.
pub(super) fn resolvers(input: &RoundInput) -> impl Iterator<Item = (Place, Endpoint)> {
    let mut resolvers: Vec<&RoundPod> = input.resolvers.iter().collect();
    resolvers.sort_by_key(|pod| (!pod.ready, &pod.label));
    resolvers
        .into_iter()
        .take(MAX_RESOLVERS)
        .filter_map(|pod| Some((Place::Resolver(pod.label.clone()), endpoints(pod).next()?)))
}

/// A pod's addresses, sorted, each once.
pub(super) fn endpoints(pod: &RoundPod) -> impl Iterator<Item = Endpoint> + use<> {
    pod.endpoints.iter().copied().collect::<BTreeSet<_>>().into_iter()
}

/// The exposed addresses that a round probes, sorted, each once per object.
fn exposed(input: &RoundInput) -> Vec<(Place, Endpoint, Vec<Transport>)> {
    let all: BTreeSet<(&str, Endpoint, Vec<Transport>)> = input
        .exposures
        .iter()
        .flat_map(|exposure| {
            let mut transports = exposure.transports.clone();
            transports.sort_unstable();
            transports.dedup();
            exposure
                .endpoints
                .iter()
                .map(move |endpoint| (exposure.object.as_str(), *endpoint, transports.clone()))
        })
        .collect();
    all.into_iter()
        .take(MAX_EXPOSED)
        .map(|(object, endpoint, transports)| (Place::Exposure(object.to_owned()), endpoint, transports))
        .collect()
}

pub(super) fn place(pod: &RoundPod) -> Place {
    Place::Pod(pod.label.clone())
}
