//! A cluster in which every control holds, for tests to break.

use std::collections::BTreeMap;

use tsutsumi_model::{
    Ask, Asker, ClientAddress, DnsAnswer, DnsQuestion, Endpoint, Exposure, Failure, Heard, MetricName,
    MetricSample, Observation, Probe, QueryClass, QueryType, Rcode, Saw, Series, Tally, Transport, Vantage,
};

use crate::{
    Aim, Asked, Availability, Dossier, KnownVersion, Others, Place, PodFacts, Purpose, Step, Target, Trial,
    Warmed,
};

pub(crate) const PODS: [&str; 2] = ["kube-system/coredns-a", "kube-system/coredns-b"];
pub(crate) const SERVICE: &str = "Service kube-system/dns-nodeport";
pub(crate) const RESOLVER: &str = "tsutsumi/unbound-a";
pub(crate) const VERSION: &str = "1.14.7";
pub(crate) const ZONE: &str = "10.96.0.53:53";
pub(crate) const UPSTREAM: &str = "192.0.2.53:53";

/// Two pods, one exposure, everything as it should be.
pub(crate) fn holding() -> Dossier {
    let mut dossier = Dossier {
        asked: Asked {
            clients: Some(Others::Refuse),
            udp_max_bytes: Some(1232),
            any_empty: true,
            random_ports: true,
            validation: true,
        },
        target: Target {
            namespace: "kube-system".into(),
            workload: "deployment/coredns".into(),
            config_map: "coredns".into(),
        },
        pods: PODS
            .iter()
            .zip(1..)
            .map(|(label, host)| PodFacts {
                label: (*label).into(),
                endpoints: vec![
                    endpoint(&format!("10.0.0.{host}:53")),
                    endpoint(&format!("[fd00::{host}]:53")),
                ],
                ready: true,
                image_version: Some(format!("v{VERSION}")),
            })
            .collect(),
        resolvers: vec![PodFacts {
            label: RESOLVER.into(),
            endpoints: vec![endpoint("10.0.0.9:53")],
            ready: true,
            image_version: None,
        }],
        exposures: vec![Exposure {
            object: SERVICE.into(),
            endpoints: vec![endpoint("192.0.2.10:30053")],
            transports: vec![Transport::Udp, Transport::Tcp],
            hostnames: vec![],
            client_address: ClientAddress::Kept,
        }],
        inside: Availability::Present,
        outside: Availability::Present,
        zone: Availability::Present,
        zone_server: Some(endpoint(ZONE)),
        unsupported: BTreeMap::new(),
        versions: vec![KnownVersion {
            running: VERSION.into(),
            acl_leak: None,
            holes: vec![],
        }],
        steps: vec![],
        observations: vec![],
        heard: BTreeMap::new(),
    };
    dossier.steps = steps(&dossier);
    dossier.observations = dossier.steps.iter().map(well).collect();
    dossier.heard = ids(&dossier, Aim::Ports)
        .map(|id| (id, heard(mixed(256))))
        .collect();
    dossier
}

pub(crate) fn endpoint(text: &str) -> Endpoint {
    let socket: std::net::SocketAddr = text.parse().unwrap();
    Endpoint::of(socket.ip(), socket.port().into()).unwrap()
}

fn steps(dossier: &Dossier) -> Vec<Step> {
    use Transport::{Tcp, Udp};
    let mut wanted: Vec<(Aim, Place, Endpoint, Transport)> = Vec::new();
    for pod in &dossier.pods {
        let place = Place::Pod(pod.label.clone());
        for server in &pod.endpoints {
            let mut ask = |aim, transport| wanted.push((aim, place.clone(), *server, transport));
            ask(Aim::WarmUp(Warmed::Cluster), Udp);
            ask(Aim::SizeWith4096, Udp);
            ask(Aim::SizeWithoutEdns, Udp);
            ask(Aim::SizeOverTcp, Tcp);
            for transport in [Udp, Tcp] {
                ask(Aim::InsideServed, transport);
                ask(Aim::InsideAny, transport);
                for aim in outside() {
                    ask(aim, transport);
                }
            }
        }
    }
    let pods = dossier
        .pods
        .iter()
        .map(|pod| (Place::Pod(pod.label.clone()), pod));
    let resolvers = dossier
        .resolvers
        .iter()
        .map(|pod| (Place::Resolver(pod.label.clone()), pod));
    for (place, pod) in pods.chain(resolvers) {
        for trial in Trial::ALL {
            wanted.push((Aim::Validation(trial), place.clone(), pod.endpoints[0], Udp));
        }
    }
    for exposure in &dossier.exposures {
        for aim in outside() {
            for transport in &exposure.transports {
                wanted.push((
                    aim,
                    Place::Exposure(exposure.object.clone()),
                    exposure.endpoints[0],
                    *transport,
                ));
            }
        }
    }
    let mut steps: Vec<Step> = wanted
        .into_iter()
        .zip(0..)
        .map(|((aim, place, server, transport), id)| {
            let edns = match aim {
                Aim::SizeWithoutEdns => None,
                Aim::SizeWith4096 => Some(4096),
                _ => Some(1232),
            };
            let question = DnsQuestion {
                server,
                transport,
                name: "name.test".parse().unwrap(),
                qtype: QueryType::A,
                qclass: QueryClass::In,
                edns,
                validator: None,
            };
            (
                Purpose { aim, place },
                Probe {
                    id,
                    ask: Ask::Dns(question),
                },
            )
        })
        .collect();
    let metrics = || Ask::Metrics(endpoint("10.0.0.1:9153"));
    let series = || {
        Ask::Series(Series {
            server: endpoint("10.0.0.1:53"),
            names: vec![],
            per_second: std::num::NonZeroU16::MIN,
        })
    };
    let mut id = 1000;
    for pod in &dossier.pods {
        for (aim, ask) in [
            (Aim::Metrics, metrics()),
            (Aim::Ports, series()),
            (Aim::Upstreams, series()),
            (Aim::MetricsAfter, metrics()),
        ] {
            let place = Place::Pod(pod.label.clone());
            steps.push((Purpose { aim, place }, Probe { id, ask }));
            id += 1;
        }
    }
    steps
}

fn outside() -> [Aim; 4] {
    [
        Aim::OutsideFresh,
        Aim::OutsideWarmed(Warmed::Cluster),
        Aim::OutsideAny,
        Aim::OutsideChaos,
    ]
}

/// What a step sees where all is well.
pub(crate) fn well((purpose, probe): &Step) -> Observation {
    let saw = match purpose.aim {
        Aim::Validation(Trial::Good | Trial::Chain) => validated(Rcode::NOERROR, 1),
        Aim::Validation(Trial::Absent) => validated(Rcode::NXDOMAIN, 0),
        Aim::Validation(Trial::Insecure) => answer(Rcode::NOERROR, 1, 80, false),
        Aim::Validation(_) => answer(Rcode::SERVFAIL, 0, 60, false),
        Aim::Metrics => counts(0, 100),
        Aim::MetricsAfter => counts(0, 132),
        Aim::Ports => tally(256, 0),
        Aim::Upstreams => tally(0, 32),
        Aim::SizeWith4096 => answer(Rcode::NOERROR, 60, 1200, true),
        Aim::SizeWithoutEdns => answer(Rcode::NOERROR, 25, 500, true),
        Aim::SizeOverTcp => answer(Rcode::NOERROR, 120, 3000, false),
        Aim::InsideAny => answer(Rcode::NOERROR, 0, 60, false),
        aim if aim.vantage() == Vantage::Outside => answer(Rcode::REFUSED, 0, 50, false),
        _ => answer(Rcode::NOERROR, 1, 80, false),
    };
    Observation {
        probe: probe.clone(),
        vantage: purpose.aim.vantage(),
        saw,
        millis: 1,
    }
}

pub(crate) fn answer(rcode: Rcode, answers: u16, bytes: u32, truncated: bool) -> Saw {
    Saw::Answer(DnsAnswer {
        rcode,
        truncated,
        authentic: false,
        query_bytes: 50,
        answer_bytes: bytes,
        answers,
        nsid: None,
        extended_errors: vec![],
    })
}

/// An answer whose server says that it has validated it.
pub(crate) fn validated(rcode: Rcode, answers: u16) -> Saw {
    match answer(rcode, answers, 120, false) {
        Saw::Answer(answer) => Saw::Answer(DnsAnswer {
            authentic: true,
            ..answer
        }),
        other => other,
    }
}

pub(crate) fn version(version: &str) -> Saw {
    Saw::Metrics(vec![build(version)])
}

fn build(version: &str) -> MetricSample {
    MetricSample {
        name: MetricName::CorednsBuildInfo,
        labels: [("version".to_owned(), version.to_owned())].into(),
        value: 1.0,
    }
}

/// The version, and how many questions to the upstream left from used and from fresh sockets.
pub(crate) fn counts(used: u32, fresh: u32) -> Saw {
    counts_over("udp", used, fresh)
}

pub(crate) fn counts_over(proto: &str, used: u32, fresh: u32) -> Saw {
    let mut samples = vec![build(VERSION)];
    for (name, value) in [
        (MetricName::CorednsProxyConnCacheHitsTotal, used),
        (MetricName::CorednsProxyConnCacheMissesTotal, fresh),
    ] {
        samples.push(MetricSample {
            name,
            labels: [("to", UPSTREAM), ("proto", proto)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            value: value.into(),
        });
    }
    Saw::Metrics(samples)
}

/// What came back of a series.
pub(crate) fn tally(answered: u16, denied: u16) -> Saw {
    let answers = [(Rcode::NOERROR, answered), (Rcode::NXDOMAIN, denied)];
    Saw::Series(Tally {
        answers: answers.into_iter().filter(|(_, count)| *count > 0).collect(),
        ..Tally::default()
    })
}

/// One address that asked from these ports.
pub(crate) fn heard(ports: Vec<u16>) -> Heard {
    Heard {
        zone: Vantage::Inside,
        askers: vec![Asker {
            address: "10.0.0.1".parse().unwrap(),
            ids: cubes(ports.len(), 65_519),
            ports,
            largest_offer: Some(1232),
            mixed_case: 0,
            over_tcp: 0,
        }],
        forgotten: 0,
    }
}

/// Ports that nobody guesses.
pub(crate) fn mixed(count: usize) -> Vec<u16> {
    cubes(count, 27_239)
        .into_iter()
        .map(|cube| 32_768 + cube)
        .collect()
}

/// Cubes modulo a prime of this kind (2 mod 3) differ, and mix well enough for every test.
fn cubes(count: usize, prime: u32) -> Vec<u16> {
    let cube = |n: u32| u16::try_from(n.pow(3) % prime).unwrap();
    (100..).take(count).map(cube).collect()
}

/// The numbers of the steps with this aim.
pub(crate) fn ids(dossier: &Dossier, aim: Aim) -> impl Iterator<Item = u32> + use<'_> {
    let steps = dossier.steps.iter();
    steps
        .filter(move |(purpose, _)| purpose.aim == aim)
        .map(|(_, probe)| probe.id)
}

/// Changes what the steps with this aim saw: all, or those at one place.
pub(crate) fn see(dossier: &mut Dossier, aim: Aim, place: Option<&Place>, saw: &Saw) {
    for ((purpose, _), observation) in dossier.steps.iter().zip(&mut dossier.observations) {
        if purpose.aim == aim && place.is_none_or(|place| purpose.place == *place) {
            observation.saw = saw.clone();
        }
    }
}

/// Opens the resolver.
pub(crate) fn answer_outside(dossier: &mut Dossier) {
    for aim in outside() {
        see(dossier, aim, None, &answer(Rcode::NOERROR, 1, 80, false));
    }
}

/// What a policy that drops makes of every question from outside.
pub(crate) fn drop_outside(dossier: &mut Dossier) {
    for ((purpose, probe), observation) in dossier.steps.iter().zip(&mut dossier.observations) {
        if let (Vantage::Outside, Ask::Dns(question)) = (purpose.aim.vantage(), &probe.ask) {
            observation.saw = Saw::Nothing(match question.transport {
                Transport::Udp => Failure::Timeout,
                Transport::Tcp => Failure::Unanswered,
            });
        }
    }
}
