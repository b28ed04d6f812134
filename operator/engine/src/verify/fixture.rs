//! A small cluster and a resolver that behaves, for tests to break.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tsutsumi_controls::{Source, Start};
use tsutsumi_model::{
    Ask, Asker, ClientAddress, DnsAnswer, Endpoint, Exposure, Failure, Heard, MarkKey, MetricName,
    MetricSample, Observation, Probe, Rcode, RootAnswer, RootKey, RootRecord, RootWanted, Saw, Tally,
    Transport, Vantage,
};

use super::{
    Aim, Around, Asked, Availability, Lever, Marks, Others, Place, Root, Round, RoundInput, RoundPod,
    Sentinel, Step, TargetNames, Trial,
    series::{PORTS, UPSTREAMS},
};

/// Of the root's key.
const TAG: u16 = 38_696;

pub(super) fn endpoint(text: &str) -> Endpoint {
    let socket: std::net::SocketAddr = text.parse().unwrap();
    Endpoint::of(socket.ip(), socket.port().into()).unwrap()
}

pub(super) fn pod(number: usize) -> RoundPod {
    RoundPod {
        label: format!("kube-system/coredns-{number:03}"),
        endpoints: vec![
            endpoint(&format!("10.0.{}.{}:53", number / 250, number % 250 + 1)),
            endpoint(&format!("[fd00::{:x}]:53", number + 1)),
        ],
        metrics: Some(endpoint(&format!(
            "10.0.{}.{}:9153",
            number / 250,
            number % 250 + 1
        ))),
        ready: true,
        image_version: Some("1.14.7".into()),
    }
}

pub(super) fn input(pods: usize) -> RoundInput {
    RoundInput {
        asked: Asked {
            clients: Some(Others::Refuse),
            udp_max_bytes: Some(1232),
            any_empty: true,
            random_ports: true,
            validation: true,
        },
        target: TargetNames {
            namespace: "kube-system".into(),
            workload: "deployment/coredns".into(),
            config_map: "coredns".into(),
        },
        pods: (0..pods).map(pod).collect(),
        service: Some(endpoint("10.96.0.10:53")),
        resolvers: vec![RoundPod {
            label: "tsutsumi/tsutsumi-unbound-town-0".into(),
            endpoints: vec![endpoint("10.1.0.1:53")],
            metrics: None,
            ready: true,
            image_version: Some("1.26.2".into()),
        }],
        exposures: vec![Exposure {
            object: "Service kube-system/dns-nodeport".into(),
            endpoints: vec![endpoint("192.0.2.10:30053"), endpoint("[2001:db8::10]:30053")],
            transports: vec![Transport::Udp, Transport::Tcp],
            hostnames: vec![],
            client_address: ClientAddress::Kept,
        }],
        around: Some(Around {
            resolvers: vec!["198.51.100.53".parse().unwrap()],
            ..Around::default()
        }),
        cluster_domain: "cluster.local".parse().unwrap(),
        namespace: "tsutsumi".into(),
        forwarded_name: Some("www.example.jp".parse().unwrap()),
        zones: vec!["town.example.jp".parse().unwrap()],
        inside: Availability::Present,
        outside: Availability::Present,
        zone: Availability::Present,
        zone_outside: Availability::Present,
        zone_server: Some(endpoint("10.96.0.53:53")),
        root: Root::Known(Box::new(start())),
        unsupported: BTreeMap::new(),
    }
}

/// A root of one server and one key.
fn start() -> Start {
    Start {
        servers: [(
            "a.root.town".parse().unwrap(),
            ["192.0.2.1".parse().unwrap()].into(),
        )]
        .into(),
        hints: Source::ConfigMap("hints".into()),
        keys: vec![RootKey::new(TAG, 13, &[7; 32])],
        anchors: Source::ConfigMap("keys".into()),
        bundled: None,
    }
}

fn about_root(ask: &Ask) -> Saw {
    let Ask::Root(question) = ask else {
        panic!("{ask:?}");
    };
    let Start { servers, keys, .. } = start();
    let records = match &question.wanted {
        RootWanted::Servers => servers.into_keys().map(RootRecord::Server).collect(),
        RootWanted::Keys => keys.into_iter().map(RootRecord::Key).collect(),
        RootWanted::V4(name) => vec![RootRecord::Address(name.clone(), "192.0.2.1".parse().unwrap())],
        RootWanted::V6(_) => vec![],
    };
    Saw::Root(RootAnswer {
        rcode: Rcode::NOERROR,
        authentic: true,
        extended_errors: vec![],
        records,
        unread: 0,
    })
}

/// What a hardened resolver of this version lets a round see.
pub(super) fn behave(round: &Round, version: &str) -> Vec<Observation> {
    round.steps().map(|step| answer(step, version)).collect()
}

fn answer((purpose, probe): &Step, version: &str) -> Observation {
    let saw = match purpose.aim {
        Aim::Validation(Trial::Good | Trial::Chain) => validated(Rcode::NOERROR, 1),
        Aim::Validation(Trial::Absent) => validated(Rcode::NXDOMAIN, 0),
        Aim::ForeignAlive | Aim::Validation(Trial::Insecure) => dns(Rcode::NOERROR, 1, 90, false),
        Aim::Sentinel(Sentinel::Is, TAG) | Aim::Sentinel(Sentinel::Not, _)
            if purpose.aim != Aim::Sentinel(Sentinel::Not, TAG) =>
        {
            validated(Rcode::NOERROR, 1)
        }
        Aim::RootKeys | Aim::RootServers | Aim::RootAddresses => about_root(&probe.ask),
        Aim::Sentinel(..) | Aim::Validation(_) => dns(Rcode::SERVFAIL, 0, 60, false),
        Aim::Metrics => metrics(version, 0),
        Aim::MetricsAfter => metrics(version, UPSTREAMS),
        Aim::Ports | Aim::PortsOutside => tally(Rcode::NOERROR, PORTS),
        Aim::Upstreams => tally(Rcode::NXDOMAIN, UPSTREAMS),
        Aim::SizeWith4096 => dns(Rcode::NOERROR, 70, 1230, true),
        Aim::SizeWithoutEdns => dns(Rcode::NOERROR, 28, 510, true),
        Aim::SizeOverTcp => dns(Rcode::NOERROR, 120, 2010, false),
        Aim::InsideAny | Aim::Lever(Lever::Any) => dns(Rcode::NOERROR, 0, 70, false),
        Aim::Lever(Lever::Keys) => dns(Rcode::NOERROR, 2, 260, false),
        Aim::Lever(Lever::Text) => match &probe.ask {
            Ask::Dns(question) if question.transport == Transport::Tcp => dns(Rcode::NOERROR, 2, 1990, false),
            _ => dns(Rcode::NOERROR, 0, 110, true),
        },
        Aim::PastClusterDns => Saw::Nothing(Failure::Timeout),
        aim if aim.vantage() == Vantage::Outside => dns(Rcode::REFUSED, 0, 60, false),
        _ => dns(Rcode::NOERROR, 1, 90, false),
    };
    Observation {
        probe: probe.clone(),
        vantage: purpose.aim.vantage(),
        saw,
        millis: 2,
    }
}

pub(super) fn dns(rcode: Rcode, answers: u16, bytes: u32, truncated: bool) -> Saw {
    Saw::Answer(DnsAnswer {
        rcode,
        truncated,
        authentic: false,
        query_bytes: 60,
        answer_bytes: bytes,
        answers,
        addresses: vec![],
        nsid: None,
        extended_errors: vec![],
    })
}

fn validated(rcode: Rcode, answers: u16) -> Saw {
    let mut saw = dns(rcode, answers, 120, false);
    if let Saw::Answer(answer) = &mut saw {
        answer.authentic = true;
    }
    saw
}

fn tally(rcode: Rcode, count: u16) -> Saw {
    Saw::Series(Tally {
        answers: [(rcode, count)].into(),
        ..Tally::default()
    })
}

fn metrics(version: &str, asked_on: u16) -> Saw {
    let sample = |name, label: &str, value: &str| MetricSample {
        name,
        labels: [(label.to_owned(), value.to_owned())].into(),
        value: 1.0,
    };
    let misses = MetricSample {
        value: asked_on.into(),
        labels: [("to", "192.0.2.53:53"), ("proto", "udp")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..sample(MetricName::CorednsProxyConnCacheMissesTotal, "to", "")
    };
    Saw::Metrics(vec![
        misses,
        sample(MetricName::CorednsBuildInfo, "version", version),
        sample(MetricName::CorednsPluginEnabled, "name", "acl"),
    ])
}

/// What a probe zone hears of a round at such a resolver.
pub(super) fn heard_of(round: &Round) -> BTreeMap<u32, Heard> {
    let heard_as = |(purpose, probe): &Step| {
        let zone = match purpose.aim {
            Aim::Ports => Vantage::Inside,
            Aim::PortsOutside => Vantage::Outside,
            _ => return None,
        };
        let address = match purpose.place {
            Place::Resolver(_) => "10.1.0.1",
            _ => "10.0.0.1",
        };
        let mut heard = Heard { zone, ..heard() };
        heard.askers[0].address = address.parse().unwrap();
        Some((probe.id, heard))
    };
    round.steps().filter_map(heard_as).collect()
}

/// One address that asked from ports that nobody guesses.
pub(super) fn heard() -> Heard {
    // Cubes modulo a prime of this kind (2 mod 3) differ, and mix well enough for every test.
    let cubes = |prime: u32| (100..100 + u32::from(PORTS)).map(move |n| n.pow(3) % prime);
    Heard {
        zone: Vantage::Inside,
        askers: vec![Asker {
            address: "10.0.0.1".parse().unwrap(),
            ids: cubes(65_519).map(|id| id.try_into().unwrap()).collect(),
            ports: cubes(27_239)
                .map(|port| (32_768 + port).try_into().unwrap())
                .collect(),
            largest_offer: Some(1232),
            mixed_case: 0,
            over_tcp: 0,
        }],
        forgotten: 0,
    }
}

pub(super) const KEY: [u8; 32] = [7; 32];
pub(super) const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// Names of a probe zone.
pub(super) fn marks() -> Marks {
    Marks::new(
        "probe.tsutsumi.test".parse().unwrap(),
        MarkKey::new(KEY),
        5000,
        NOW,
    )
    .and_outside("probe-outside.tsutsumi.test".parse().unwrap())
}

/// Any observation.
pub(super) fn observation(id: u32) -> Observation {
    Observation {
        probe: Probe {
            id,
            ask: Ask::Metrics(endpoint("10.0.0.1:9153")),
        },
        vantage: Vantage::Inside,
        saw: metrics("1.14.7", 0),
        millis: 3,
    }
}
