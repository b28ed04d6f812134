//! Everything that a judge may look at: what the policy asks, what stands in the cluster, which probes were planned and
//! what they saw.
//!
//! The plan is part of it, so that a probe that was never made, or whose answer was lost, is visible as a gap.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use tsutsumi_model::{
    Closing, ControlId, Detour, Endpoint, Exposure, Heard, MetricName, Observation, Probe, Saw, Transport,
    Vantage,
};

use crate::{
    randomness::MINIMUM,
    root::Root,
    round::{Aim, Place, Purpose, Step},
};

/// What a client that is not served is to get.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Others {
    /// Silence.
    Drop,
    /// An answer with response code REFUSED.
    Refuse,
}

/// Which sections the policy has. What is absent nobody asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Asked {
    /// Clients are managed, and this is what others get.
    pub clients: Option<Others>,
    /// The largest message over UDP, in bytes.
    pub udp_max_bytes: Option<u16>,
    /// ANY is to be answered without records.
    pub any_empty: bool,
    /// Every question to an upstream is to leave from a port of its own.
    pub random_ports: bool,
    /// Answers are to be validated.
    pub validation: bool,
}

/// How DNS can be had past cluster DNS, as the cluster's objects tell, and where the way out of it is tried.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Around {
    /// Workloads that get DNS past cluster DNS, sorted; without those that may.
    pub detours: Vec<Detour>,
    /// How many pods may, by why.
    pub exempt: BTreeMap<String, usize>,
    /// How a person reads the `NetworkPolicies` that would close these ways; none where no such object can.
    pub cure: Option<String>,
    /// Resolvers outside that are tried, sorted.
    pub resolvers: Vec<IpAddr>,
    /// Addresses of the cluster that a user named among them: nobody is sent there.
    pub not_outside: Vec<IpAddr>,
    /// What became of the namespaces that the policy wants closed, sorted.
    pub closings: Vec<Closing>,
}

/// The workload that serves cluster DNS, as commands name it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// Its namespace.
    pub namespace: String,
    /// Kind and name as kubectl takes them, for example `deployment/coredns`.
    pub workload: String,
    /// The ConfigMap that holds its Corefile.
    pub config_map: String,
}

/// A DNS pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodFacts {
    /// `namespace/name`.
    pub label: String,
    /// Its own addresses, one per family.
    pub endpoints: Vec<Endpoint>,
    /// Whether Kubernetes sends clients to it.
    pub ready: bool,
    /// The version that its image's tag tells.
    pub image_version: Option<String>,
}

/// Whether there is a prober at a vantage.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Availability {
    /// There is, and it answers us.
    Present,
    /// There is none; why, and what to do.
    Missing(String),
}

/// Why `acl` of a version does not protect everything.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AclLeak {
    /// The first version that does not leak.
    pub fixed_in: String,
    /// What leaks, and how.
    pub how: String,
}

/// A published weakness of a version.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Hole {
    /// Its published name, for example a CVE number.
    pub id: String,
    /// The first version without it.
    pub fixed_in: String,
    /// What it allows.
    pub what: String,
}

/// What is known of one version that runs. A version that is not among them cannot be judged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KnownVersion {
    /// The version, without a leading `v`.
    pub running: String,
    /// Whether its `acl` leaks.
    pub acl_leak: Option<AclLeak>,
    /// Its published weaknesses.
    pub holes: Vec<Hole>,
}

/// Who told a version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VersionSource {
    /// The running process, by `coredns_build_info`; the index of the observation.
    Process(usize),
    /// The image's tag, which anybody can choose.
    Image,
}

/// Everything that a judge may look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Dossier {
    /// What the policy asks.
    pub asked: Asked,
    /// The workload, for commands.
    pub target: Target,
    /// The DNS pods.
    pub pods: Vec<PodFacts>,
    /// Where pods ask: the Service in front of the DNS pods; `None` where there is none.
    pub service: Option<Endpoint>,
    /// The pods of the managed resolver behind them; none where there is none.
    pub resolvers: Vec<PodFacts>,
    /// The ways from outside to them.
    pub exposures: Vec<Exposure>,
    /// The ways around them; none where nobody asked.
    pub around: Option<Around>,
    /// Whether there is a prober inside.
    pub inside: Availability,
    /// Whether there is a prober outside.
    pub outside: Availability,
    /// Whether there is a probe zone that the pods are led to and that tells what it heard.
    pub zone: Availability,
    /// Whether there is a probe zone outside that the pods are led to and that tells what it heard.
    pub zone_outside: Availability,
    /// The address at which resolvers ask the probe zone, as their metrics name it.
    pub zone_server: Option<Endpoint>,
    /// What the managed resolver starts from.
    pub root: Root,
    /// Controls for which this platform has no lever, with the platform's own setting.
    pub unsupported: BTreeMap<ControlId, String>,
    /// What is known of the versions of CoreDNS that run.
    pub versions: Vec<KnownVersion>,
    /// What is known of the versions of Unbound that run.
    pub resolver_versions: Vec<KnownVersion>,
    /// The probes that were planned.
    pub steps: Vec<Step>,
    /// What they saw.
    pub observations: Vec<Observation>,
    /// What the probe zone heard of a series, by the number of its probe.
    pub heard: BTreeMap<u32, Heard>,
}

impl Dossier {
    /// Whether a question from this address came from cluster DNS itself, and not from a resolver behind it or through
    /// what translates addresses.
    pub(crate) fn is_pod(&self, address: IpAddr) -> bool {
        let mut own = self.pods.iter().flat_map(|pod| &pod.endpoints);
        own.any(|endpoint| endpoint.address == address)
    }

    /// The version that a pod runs, without a leading `v`, and who told it: the process before the image.
    #[must_use]
    pub fn version_of(&self, pod: &PodFacts) -> Option<(String, VersionSource)> {
        let place = Place::Pod(pod.label.clone());
        let told = self
            .steps
            .iter()
            .filter(|(purpose, _)| purpose.aim == Aim::Metrics && purpose.place == place)
            .flat_map(|(purpose, probe)| {
                self.observations
                    .iter()
                    .enumerate()
                    .filter(|(_, seen)| seen.probe == *probe && seen.vantage == purpose.aim.vantage())
            })
            .find_map(|(index, seen)| {
                build_version(seen).map(|version| (version, VersionSource::Process(index)))
            });
        told.or_else(|| {
            pod.image_version
                .as_deref()
                .map(|version| (plain(version), VersionSource::Image))
        })
    }

    /// The versions that are to be looked up before judging, sorted.
    #[must_use]
    pub fn running_versions(&self) -> BTreeSet<String> {
        self.pods
            .iter()
            .filter_map(|pod| self.version_of(pod))
            .map(|(version, _)| version)
            .collect()
    }

    /// The versions that the images of the managed resolver's pods are tagged with, sorted.
    #[must_use]
    pub fn resolver_tags(&self) -> BTreeSet<String> {
        self.resolvers
            .iter()
            .filter_map(|pod| pod.image_version.as_deref())
            .map(plain)
            .collect()
    }

    /// Where names are resolved: the pods of cluster DNS, and those of the managed resolver.
    pub(crate) fn resolving(&self) -> impl Iterator<Item = Place> + '_ {
        let pods = self.pods.iter().map(|pod| Place::Pod(pod.label.clone()));
        let resolvers = self.resolvers.iter();
        pods.chain(resolvers.map(|pod| Place::Resolver(pod.label.clone())))
    }

    /// Who asks a probe zone for the managed resolver, as far as its own series with this aim show enough of their ports:
    /// they are judged there, so another series may hear too few questions of theirs.
    pub(crate) fn askers_for_resolvers(&self, aim: Aim) -> BTreeSet<IpAddr> {
        let own = |purpose: &Purpose| purpose.aim == aim && matches!(purpose.place, Place::Resolver(_));
        self.steps
            .iter()
            .filter(|(purpose, _)| own(purpose))
            .filter_map(|(_, probe)| self.heard.get(&probe.id))
            .flat_map(|heard| &heard.askers)
            .filter(|asker| asker.ports.len() >= MINIMUM)
            .map(|asker| asker.address)
            .collect()
    }

    /// What to do where a pod shows no metrics.
    pub(crate) fn open_metrics(&self) -> String {
        format!(
            "Add `prometheus :9153` to a server block (`kubectl -n {} edit configmap {}`) and let the prober reach that \
             port.",
            self.target.namespace, self.target.config_map
        )
    }

    /// What is known of a version.
    pub(crate) fn known(&self, version: &str) -> Option<&KnownVersion> {
        self.versions.iter().find(|known| known.running == version)
    }

    /// Whether the place is a pod to which Kubernetes sends nobody at present.
    pub(crate) fn is_not_ready(&self, place: &Place) -> bool {
        let (pods, label) = match place {
            Place::Pod(label) => (&self.pods, label),
            Place::Resolver(label) => (&self.resolvers, label),
            Place::Service | Place::Exposure(_) | Place::Foreign(_) => return false,
        };
        pods.iter().any(|pod| pod.label == *label && !pod.ready)
    }

    /// Every planned probe with what it saw. An observation belongs to a step only if it is of the same probe and from
    /// the vantage that the aim demands.
    pub(crate) fn joined(&self) -> Vec<Joined<'_>> {
        let mut by_id: BTreeMap<u32, Vec<(usize, &Observation)>> = BTreeMap::new();
        for (index, observation) in self.observations.iter().enumerate() {
            by_id
                .entry(observation.probe.id)
                .or_default()
                .push((index, observation));
        }
        self.steps
            .iter()
            .map(|(purpose, probe)| Joined {
                purpose,
                probe,
                seen: by_id
                    .get(&probe.id)
                    .into_iter()
                    .flatten()
                    .filter(|(_, seen)| seen.probe == *probe && seen.vantage == purpose.aim.vantage())
                    .copied()
                    .collect(),
            })
            .collect()
    }
}

/// A planned probe with what it saw: nothing where it was not made or its answer was lost.
pub(crate) struct Joined<'a> {
    pub(crate) purpose: &'a Purpose,
    pub(crate) probe: &'a Probe,
    pub(crate) seen: Vec<(usize, &'a Observation)>,
}

impl Joined<'_> {
    /// The place, address and transport, in words.
    pub(crate) fn at(&self) -> String {
        use tsutsumi_model::Ask;
        match &self.probe.ask {
            Ask::Dns(question) => {
                format!(
                    "over {} at {} ({})",
                    question.transport, self.purpose.place, question.server
                )
            }
            Ask::Metrics(endpoint) => format!("at {} ({endpoint})", self.purpose.place),
            Ask::Root(question) => format!(
                "over {} at {} ({})",
                question.wanted.transport(),
                self.purpose.place,
                question.server
            ),
            Ask::Series(series) => format!("at {} ({})", self.purpose.place, series.server),
        }
    }

    /// What a coverage check looks for.
    pub(crate) fn cell(&self) -> Option<Cell> {
        use tsutsumi_model::Ask;
        match &self.probe.ask {
            Ask::Dns(question) => Some(Cell {
                aim: self.purpose.aim,
                place: self.purpose.place.clone(),
                endpoint: question.server,
                transport: question.transport,
            }),
            Ask::Metrics(_) | Ask::Root(_) | Ask::Series(_) => None,
        }
    }
}

/// One DNS probe that a control needs: an aim at an address over a transport.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Cell {
    pub(crate) aim: Aim,
    pub(crate) place: Place,
    pub(crate) endpoint: Endpoint,
    pub(crate) transport: Transport,
}

/// The cells of every pod's own addresses.
pub(crate) fn pod_cells(pods: &[PodFacts], wanted: &[(Aim, Transport)]) -> Vec<Cell> {
    pods.iter()
        .flat_map(|pod| {
            pod.endpoints.iter().flat_map(|endpoint| {
                wanted.iter().map(|(aim, transport)| Cell {
                    aim: *aim,
                    place: Place::Pod(pod.label.clone()),
                    endpoint: *endpoint,
                    transport: *transport,
                })
            })
        })
        .collect()
}

/// The cells of every exposed address.
pub(crate) fn exposure_cells(exposures: &[Exposure], aims: &[Aim]) -> Vec<Cell> {
    exposures
        .iter()
        .flat_map(|exposure| {
            exposure.endpoints.iter().flat_map(|endpoint| {
                exposure.transports.iter().flat_map(|transport| {
                    aims.iter().map(|aim| Cell {
                        aim: *aim,
                        place: Place::Exposure(exposure.object.clone()),
                        endpoint: *endpoint,
                        transport: *transport,
                    })
                })
            })
        })
        .collect()
}

/// The version in `coredns_build_info`.
fn build_version(observation: &Observation) -> Option<String> {
    let Saw::Metrics(samples) = &observation.saw else {
        return None;
    };
    samples
        .iter()
        .filter(|sample| sample.name == MetricName::CorednsBuildInfo)
        .filter_map(|sample| sample.labels.get("version"))
        .map(|version| plain(version))
        .find(|version| !version.is_empty())
}

/// Versions without the `v` that image tags carry.
pub(crate) fn plain(version: &str) -> String {
    version.strip_prefix('v').unwrap_or(version).to_owned()
}

impl Dossier {
    /// Whether there is a prober at the vantage, or why not.
    pub(crate) const fn availability(&self, vantage: Vantage) -> &Availability {
        match vantage {
            Vantage::Inside => &self.inside,
            Vantage::Outside => &self.outside,
        }
    }
}
