//! What probes see in a scene.

use super::*;

pub(crate) fn answer(rcode: Rcode, answers: u16, bytes: u32, truncated: bool) -> Saw {
    Saw::Answer(DnsAnswer {
        rcode,
        truncated,
        authentic: false,
        query_bytes: 50,
        answer_bytes: bytes,
        answers,
        addresses: vec![],
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

/// What a validating resolver says of the root.
pub(crate) fn root(records: Vec<RootRecord>) -> Saw {
    Saw::Root(about_root(records))
}

/// A validated answer about the root.
pub(crate) const fn about_root(records: Vec<RootRecord>) -> RootAnswer {
    RootAnswer {
        rcode: Rcode::NOERROR,
        authentic: true,
        extended_errors: vec![],
        records,
        unread: 0,
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
    heard_as("10.0.0.1", ports)
}

/// The same, from this address.
pub(crate) fn heard_as(address: &str, ports: Vec<u16>) -> Heard {
    Heard {
        zone: Vantage::Inside,
        askers: vec![Asker {
            address: address.parse().unwrap(),
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
