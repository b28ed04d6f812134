use std::sync::Arc;

use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::{ServerName, UnixTime},
    server::WebPkiClientVerifier,
};

use super::*;

const START: i64 = 1_800_000_000;

fn day(days: i64) -> Timestamp {
    Timestamp::from_second(START + days * 86_400).unwrap()
}

fn authority() -> Authority {
    Authority::next(&Data::new(), day(0)).unwrap()
}

fn roots(data: &Data) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let found = certificates(data, CA_CERT);
    assert_eq!(roots.add_parsable_certificates(found.clone()), (found.len(), 0));
    Arc::new(roots)
}

fn unix(at: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.as_second().unsigned_abs()))
}

/// Whether a TLS client that trusts the bundle in `trusting` takes the leaf for the prober.
fn accepted(trusting: &Data, leaf: &Data, at: Timestamp) -> bool {
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(trusting), provider)
        .build()
        .unwrap();
    let name = ServerName::try_from(Peer::Prober.name()).unwrap();
    verifier
        .verify_server_cert(&certificates(leaf, TLS_CERT)[0], &[], &name, &[], unix(at))
        .is_ok()
}

#[test]
fn an_empty_secret_needs_a_key_and_a_new_one_needs_nothing() {
    assert_eq!(authority_due(&Data::new(), day(0)), Renewal::Key);
    let authority = authority();
    assert_eq!(authority_due(&authority.data(), day(0)), Renewal::None);
    assert_eq!(
        leaf_due(&Data::new(), Peer::Prober, &authority, day(0)),
        Renewal::Key
    );
    let leaf = authority.issue(Peer::Prober, day(0)).unwrap();
    assert_eq!(leaf_due(&leaf, Peer::Prober, &authority, day(0)), Renewal::None);
}

#[test]
fn a_certificate_is_renewed_when_half_of_its_time_is_gone() {
    let authority = authority();
    let leaf = authority.issue(Peer::Prober, day(0)).unwrap();
    for (at, wanted) in [
        (89, Renewal::None),
        (91, Renewal::Certificate),
        (1000, Renewal::Certificate),
    ] {
        assert_eq!(
            leaf_due(&leaf, Peer::Prober, &authority, day(at)),
            wanted,
            "day {at}"
        );
    }
    let ca = authority.data();
    for (at, wanted) in [(1824, Renewal::None), (1826, Renewal::Certificate)] {
        assert_eq!(authority_due(&ca, day(at)), wanted, "day {at}");
    }
    assert_eq!(
        leaf_due(&leaf, Peer::Prober, &authority, day(-2)),
        Renewal::Certificate,
        "a clock set back"
    );
}

#[test]
fn what_does_not_belong_together_is_issued_anew() {
    let (authority, other) = (authority(), authority());
    let leaf = authority.issue(Peer::Prober, day(0)).unwrap();
    assert_eq!(
        leaf_due(&leaf, Peer::Controller, &authority, day(0)),
        Renewal::Certificate,
        "another name"
    );
    assert_eq!(
        leaf_due(&leaf, Peer::Prober, &other, day(0)),
        Renewal::Certificate,
        "another issuer"
    );
    let second = authority.issue(Peer::Prober, day(0)).unwrap();
    let mut mixed = leaf.clone();
    mixed.insert(TLS_KEY.into(), second[TLS_KEY].clone());
    assert_eq!(
        leaf_due(&mixed, Peer::Prober, &authority, day(0)),
        Renewal::Certificate,
        "another key"
    );
    let mut cut = leaf;
    cut.insert(TLS_CERT.into(), b"-----BEGIN CERTIFICATE-----".to_vec());
    assert_eq!(
        leaf_due(&cut, Peer::Prober, &authority, day(0)),
        Renewal::Certificate,
        "cut short"
    );

    let mut ca = authority.data();
    ca.insert(CA_CERT.into(), other.data()[CA_CERT].clone());
    assert_eq!(
        authority_due(&ca, day(0)),
        Renewal::Certificate,
        "a bundle of another key"
    );
    ca.insert(CA_KEY.into(), b"lost".to_vec());
    assert_eq!(authority_due(&ca, day(0)), Renewal::Key);
}

#[test]
fn each_peer_may_do_its_own_part_only() {
    let authority = authority();
    let [asks, answers] = [Peer::Controller, Peer::Prober].map(|peer| authority.issue(peer, day(0)).unwrap());
    assert!(accepted(&asks, &answers, day(1)));
    assert!(
        !accepted(&asks, &asks, day(1)),
        "the controller's certificate passes for the prober's"
    );
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(&answers), provider)
        .build()
        .unwrap();
    let as_client = |leaf: &Data| {
        verifier
            .verify_client_cert(&certificates(leaf, TLS_CERT)[0], &[], unix(day(1)))
            .is_ok()
    };
    assert!(as_client(&asks));
    assert!(
        !as_client(&answers),
        "the prober's certificate passes for the controller's"
    );
}

#[test]
fn a_renewed_authority_cuts_off_nobody() {
    let old = authority();
    let held_outside = old.issue(Peer::Prober, day(1750)).unwrap();
    let new = Authority::next(&old.data(), day(1830)).unwrap();
    assert_eq!(certificates(&new.data(), CA_CERT).len(), 2);
    assert_eq!(authority_due(&new.data(), day(1830)), Renewal::None);

    // A leaf from before is good still, but its bundle is not the present one.
    assert_eq!(
        leaf_due(&held_outside, Peer::Prober, &new, day(1830)),
        Renewal::Bundle
    );
    let rebundled = new.rebundle(held_outside.clone());
    assert_eq!(leaf_due(&rebundled, Peer::Prober, &new, day(1830)), Renewal::None);

    let issued_after = new.issue(Peer::Prober, day(1830)).unwrap();
    assert!(
        accepted(&held_outside, &issued_after, day(1835)),
        "the old bundle does not trust the new leaf"
    );
    assert!(
        accepted(&issued_after, &held_outside, day(1835)),
        "the new bundle does not trust the old leaf"
    );
    assert!(accepted(&issued_after, &issued_after, day(1835)));
    // Far later the old certificate has ended and leaves the bundle.
    let last = Authority::next(&new.data(), day(3700)).unwrap();
    assert_eq!(certificates(&last.data(), CA_CERT).len(), 2);
}

#[test]
fn a_new_key_is_unrelated() {
    let (old, new) = (authority(), authority());
    let leaf = new.issue(Peer::Prober, day(0)).unwrap();
    assert!(!accepted(&old.data(), &leaf, day(1)));
}

#[test]
fn serial_numbers_do_not_repeat_under_one_key() {
    let first = authority();
    let second = Authority::next(&first.data(), day(1)).unwrap();
    let serials: Vec<_> = second
        .bundle
        .iter()
        .map(|der| parsed(der).unwrap().raw_serial().to_vec())
        .collect();
    assert_eq!(serials.len(), 2);
    assert_ne!(serials[0], serials[1]);
}
