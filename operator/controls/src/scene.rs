//! A cluster in which every control holds, for tests to break.

mod saw;

use std::{collections::BTreeMap, net::IpAddr};

use tsutsumi_model::{
    Ask, Asker, ClientAddress, DnsAnswer, DnsQuestion, DomainName, Endpoint, Exposure, Failure, Heard,
    MetricName, MetricSample, Observation, Probe, QueryClass, QueryType, Rcode, RootAnswer, RootKey,
    RootQuestion, RootRecord, RootWanted, Saw, Series, Tally, Transport, Vantage,
};

use crate::{
    Aim, Around, Asked, Availability, Dossier, KnownVersion, Lever, Others, Place, PodFacts, Purpose, Root,
    Sentinel, Source, Start, Step, Target, Trial, Warmed,
};

pub(crate) use saw::*;

pub(crate) const PODS: [&str; 2] = ["kube-system/coredns-a", "kube-system/coredns-b"];
pub(crate) const SERVICE: &str = "Service kube-system/dns-nodeport";
pub(crate) const RESOLVER: &str = "tsutsumi/unbound-a";
/// Its address.
pub(crate) const ASKER: &str = "10.0.0.9";
pub(crate) const SERVERS: [&str; 2] = ["a.root.town", "b.root.town"];
pub(crate) const TAG: u16 = 38_696;
pub(crate) const NOBODYS_TAG: u16 = 1;
pub(crate) const VERSION: &str = "1.14.7";
pub(crate) const UNBOUND: &str = "1.26.2";
pub(crate) const ZONE: &str = "10.96.0.53:53";
pub(crate) const FOREIGN: &str = "198.51.100.53";
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
        service: Some(endpoint("10.96.0.10:53")),
        resolvers: vec![PodFacts {
            label: RESOLVER.into(),
            endpoints: vec![endpoint(&format!("{ASKER}:53"))],
            ready: true,
            image_version: Some(UNBOUND.into()),
        }],
        exposures: vec![Exposure {
            object: SERVICE.into(),
            endpoints: vec![endpoint("192.0.2.10:30053")],
            transports: vec![Transport::Udp, Transport::Tcp],
            hostnames: vec![],
            client_address: ClientAddress::Kept,
        }],
        around: Some(Around {
            resolvers: vec![FOREIGN.parse().unwrap()],
            ..Around::default()
        }),
        inside: Availability::Present,
        outside: Availability::Present,
        zone: Availability::Present,
        zone_outside: Availability::Present,
        zone_server: Some(endpoint(ZONE)),
        root: Root::Known(Box::new(start())),
        unsupported: BTreeMap::new(),
        versions: vec![KnownVersion {
            running: VERSION.into(),
            acl_leak: None,
            holes: vec![],
        }],
        resolver_versions: vec![KnownVersion {
            running: UNBOUND.into(),
            acl_leak: None,
            holes: vec![],
        }],
        steps: vec![],
        observations: vec![],
        heard: BTreeMap::new(),
    };
    dossier.steps = steps(&dossier);
    dossier.observations = dossier.steps.iter().map(well).collect();
    let told = [
        (Aim::Ports, Vantage::Inside),
        (Aim::PortsOutside, Vantage::Outside),
    ];
    let told = told.map(|(aim, zone)| {
        let told = |(purpose, probe): &Step| {
            let heard = match purpose.place {
                Place::Resolver(_) => heard_as(ASKER, mixed(256)),
                _ => heard(mixed(256)),
            };
            (probe.id, Heard { zone, ..heard })
        };
        let steps = dossier.steps.iter();
        steps
            .filter(|(purpose, _)| purpose.aim == aim)
            .map(told)
            .collect::<Vec<_>>()
    });
    dossier.heard = told.into_iter().flatten().collect();
    dossier
}

pub(crate) fn endpoint(text: &str) -> Endpoint {
    let socket: std::net::SocketAddr = text.parse().unwrap();
    Endpoint::of(socket.ip(), socket.port().into()).unwrap()
}

/// The DNS questions of a whole round, without what they ask for.
fn questions(dossier: &Dossier) -> Vec<(Aim, Place, Endpoint, Transport)> {
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
    for pod in &dossier.pods {
        let place = Place::Pod(pod.label.clone());
        for (lever, transport) in [
            (Lever::Text, Tcp),
            (Lever::Any, Udp),
            (Lever::Keys, Udp),
            (Lever::Text, Udp),
        ] {
            wanted.push((Aim::Lever(lever), place.clone(), pod.endpoints[0], transport));
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
        for sentinel in Sentinel::ALL {
            for tag in [TAG, NOBODYS_TAG] {
                wanted.push((Aim::Sentinel(sentinel, tag), place.clone(), pod.endpoints[0], Udp));
            }
        }
    }
    if let Some(service) = dossier.service {
        for trial in Trial::ALL {
            wanted.push((Aim::Validation(trial), Place::Service, service, Udp));
        }
    }
    for address in dossier.around.iter().flat_map(|around| &around.resolvers) {
        for aim in [Aim::ForeignAlive, Aim::PastClusterDns] {
            for (transport, port) in [(Udp, 53), (Tcp, 53), (Tcp, 853)] {
                let server = Endpoint::of(*address, port).unwrap();
                wanted.push((aim, Place::Foreign(*address), server, transport));
            }
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
    wanted
}

fn steps(dossier: &Dossier) -> Vec<Step> {
    let mut steps: Vec<Step> = questions(dossier)
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
    steps.extend(root_steps(dossier));
    let metrics = || Ask::Metrics(endpoint("10.0.0.1:9153"));
    let series = || {
        Ask::Series(Series {
            server: endpoint("10.0.0.1:53"),
            names: vec![],
            per_second: std::num::NonZeroU16::MIN,
        })
    };
    // Before those of the pods, so that the last of each aim is the second pod's.
    for (pod, id) in dossier.resolvers.iter().zip(900..) {
        for (aim, id) in [(Aim::Ports, id), (Aim::PortsOutside, id + 50)] {
            let place = Place::Resolver(pod.label.clone());
            steps.push((Purpose { aim, place }, Probe { id, ask: series() }));
        }
    }
    let mut id = 1000;
    for pod in &dossier.pods {
        for (aim, ask) in [
            (Aim::Metrics, metrics()),
            (Aim::Ports, series()),
            (Aim::Upstreams, series()),
            (Aim::MetricsAfter, metrics()),
            (Aim::PortsOutside, series()),
        ] {
            let place = Place::Pod(pod.label.clone());
            steps.push((Purpose { aim, place }, Probe { id, ask }));
            id += 1;
        }
    }
    steps
}

/// Questions about the root, at every pod of the resolver.
fn root_steps(dossier: &Dossier) -> Vec<Step> {
    let questions = dossier.resolvers.iter().flat_map(|pod| {
        let wanted = start()
            .wanted()
            .chain([(Aim::RootKeys, RootWanted::Keys)])
            .collect::<Vec<_>>();
        wanted.into_iter().map(move |(aim, wanted)| {
            let place = Place::Resolver(pod.label.clone());
            let server = pod.endpoints[0];
            (Purpose { aim, place }, Ask::Root(RootQuestion { server, wanted }))
        })
    });
    questions
        .zip(500..)
        .map(|((purpose, ask), id)| (purpose, Probe { id, ask }))
        .collect()
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
        Aim::ForeignAlive | Aim::Validation(Trial::Insecure) => answer(Rcode::NOERROR, 1, 80, false),
        Aim::Sentinel(Sentinel::Is, TAG) | Aim::Sentinel(Sentinel::Not, NOBODYS_TAG) => {
            validated(Rcode::NOERROR, 1)
        }
        Aim::Sentinel(..) | Aim::Validation(_) => answer(Rcode::SERVFAIL, 0, 60, false),
        Aim::RootKeys | Aim::RootServers | Aim::RootAddresses => root(records(&probe.ask)),
        Aim::Metrics => counts(0, 100),
        Aim::MetricsAfter => counts(0, 132),
        Aim::Ports | Aim::PortsOutside => tally(256, 0),
        Aim::Upstreams => tally(0, 32),
        Aim::SizeWith4096 => answer(Rcode::NOERROR, 60, 1200, true),
        Aim::SizeWithoutEdns => answer(Rcode::NOERROR, 25, 500, true),
        Aim::SizeOverTcp => answer(Rcode::NOERROR, 120, 3000, false),
        Aim::InsideAny | Aim::Lever(Lever::Any) => answer(Rcode::NOERROR, 0, 60, false),
        Aim::Lever(Lever::Keys) => answer(Rcode::NOERROR, 2, 250, false),
        Aim::Lever(Lever::Text) => match &probe.ask {
            Ask::Dns(question) if question.transport == Transport::Tcp => {
                answer(Rcode::NOERROR, 2, 1980, false)
            }
            _ => answer(Rcode::NOERROR, 0, 100, true),
        },
        Aim::PastClusterDns => Saw::Nothing(Failure::Timeout),
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

/// Two servers, of which one has two addresses, and one key.
pub(crate) fn start() -> Start {
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Start {
        servers: BTreeMap::from([
            (
                SERVERS[0].parse().unwrap(),
                addresses(&["192.0.2.1", "2001:db8::1"]),
            ),
            (SERVERS[1].parse().unwrap(), addresses(&["192.0.2.2"])),
        ]),
        hints: Source::ConfigMap("our-hints".into()),
        keys: vec![key(TAG)],
        anchors: Source::ConfigMap("our-keys".into()),
        bundled: None,
    }
}

pub(crate) fn key(tag: u16) -> RootKey {
    RootKey::new(tag, 13, &[7; 32])
}

/// What a root says that has exactly what the resolver was given.
fn records(ask: &Ask) -> Vec<RootRecord> {
    let Ask::Root(question) = ask else {
        panic!("{ask:?}");
    };
    let start = start();
    let of = |name: &DomainName, family: fn(&IpAddr) -> bool| {
        let addresses = start.servers[name].iter().copied().filter(family);
        addresses
            .map(|address| RootRecord::Address(name.clone(), address))
            .collect()
    };
    match &question.wanted {
        RootWanted::Servers => start.servers.keys().cloned().map(RootRecord::Server).collect(),
        RootWanted::Keys => start.keys.iter().cloned().map(RootRecord::Key).collect(),
        RootWanted::V4(name) => of(name, IpAddr::is_ipv4),
        RootWanted::V6(name) => of(name, IpAddr::is_ipv6),
    }
}

/// What the resolver of the scene starts from.
pub(crate) fn start_of(dossier: &mut Dossier) -> &mut Start {
    match &mut dossier.root {
        Root::Known(start) => start,
        other => panic!("{other:?}"),
    }
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
