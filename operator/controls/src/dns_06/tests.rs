//! Keys of the root: what pods say that they trust, and what the root publishes, both ways.

use tsutsumi_model::{ControlState, RootAnswer};

use super::*;
use crate::{
    Root,
    scene::{
        NOBODYS_TAG, PODS, RESOLVER, TAG, about_root, answer, holding, key, root, see, start_of, validated,
    },
};

use ControlState::{Fail, Indeterminate, NotApplicable, Pass};

fn yes() -> Saw {
    validated(Rcode::NOERROR, 1)
}

fn no() -> Saw {
    answer(Rcode::SERVFAIL, 0, 60, false)
}

/// What a pod says of a key: to `is`, and to `not`.
fn says(dossier: &mut Dossier, tag: u16, is: &Saw, not: &Saw) {
    let place = Place::Pod(PODS[1].into());
    for (sentinel, saw) in [(Sentinel::Is, is), (Sentinel::Not, not)] {
        see(dossier, Aim::Sentinel(sentinel, tag), Some(&place), saw);
    }
}

fn published(records: Vec<RootRecord>) -> Dossier {
    let mut dossier = holding();
    see(&mut dossier, Aim::RootKeys, None, &root(records));
    dossier
}

#[test]
fn each_pair_of_sentinel_answers() {
    let plain = answer(Rcode::NOERROR, 1, 80, false);
    let silence = Saw::Nothing(Failure::Timeout);
    for (given, nobodys, state, observed) in [
        ((yes(), no()), (no(), yes()), Pass, "trusted are the keys 38696"),
        (
            (no(), yes()),
            (no(), yes()),
            Fail,
            "coredns-b does not trust key 38696",
        ),
        (
            (yes(), yes()),
            (yes(), yes()),
            Indeterminate,
            "trusts key 1, which nobody has",
        ),
        (
            (yes(), no()),
            (yes(), no()),
            Indeterminate,
            "trusts key 1, which nobody has",
        ),
        (
            (no(), no()),
            (no(), no()),
            Indeterminate,
            "answers no sentinel name",
        ),
        (
            (yes(), yes()),
            (no(), yes()),
            Indeterminate,
            "nothing clear of key 38696",
        ),
        (
            (no(), no()),
            (no(), yes()),
            Indeterminate,
            "nothing clear of key 38696",
        ),
        (
            (plain.clone(), plain.clone()),
            (plain.clone(), plain.clone()),
            Indeterminate,
            "not marked",
        ),
        (
            (plain, no()),
            (no(), yes()),
            Indeterminate,
            "not marked as validated",
        ),
        ((silence, no()), (no(), yes()), Indeterminate, "silence"),
        (
            (yes(), no()),
            (no(), answer(Rcode::NXDOMAIN, 0, 60, false)),
            Indeterminate,
            "NXDOMAIN",
        ),
    ] {
        let mut dossier = holding();
        says(&mut dossier, TAG, &given.0, &given.1);
        says(&mut dossier, NOBODYS_TAG, &nobodys.0, &nobodys.1);
        let verdict = judge(&dossier).verdict;
        assert_eq!(verdict.state, state, "{verdict:?}");
        assert!(
            verdict.observed.contains(observed),
            "{observed}: {}",
            verdict.observed
        );
    }
}

#[test]
fn each_key_that_the_root_may_publish() {
    use RootRecord::{Key, Revoked};
    let other = RootKey::new(TAG, 13, &[8; 32]);
    for (records, state, observed) in [
        (vec![Key(key(TAG))], Pass, "the root publishes no other"),
        (
            vec![Key(key(TAG)), Key(key(7))],
            Fail,
            "publishes key 7, which the resolver was not given",
        ),
        (vec![Key(key(7))], Fail, "publishes key 7"),
        (vec![Key(key(TAG)), Key(other)], Fail, "publishes key 38696"),
        (vec![Key(key(TAG)), Revoked(key(7))], Pass, "no other"),
        (vec![], Indeterminate, "finds 0 keys of the root"),
    ] {
        let verdict = judge(&published(records)).verdict;
        assert_eq!(verdict.state, state, "{verdict:?}");
        assert!(
            verdict.observed.contains(observed),
            "{observed}: {}",
            verdict.observed
        );
    }
    let whole = about_root(vec![Key(key(TAG))]);
    for (answer, observed) in [
        (
            RootAnswer {
                authentic: false,
                ..whole.clone()
            },
            "not marked as validated",
        ),
        (
            RootAnswer {
                rcode: Rcode::SERVFAIL,
                ..whole.clone()
            },
            "cannot find . DNSKEY: SERVFAIL",
        ),
        (RootAnswer { unread: 1, ..whole }, "could not be read to its end"),
    ] {
        let mut dossier = holding();
        see(&mut dossier, Aim::RootKeys, None, &Saw::Root(answer));
        let verdict = judge(&dossier).verdict;
        assert_eq!(verdict.state, Indeterminate, "{verdict:?}");
        assert!(
            verdict.observed.contains(observed),
            "{observed}: {}",
            verdict.observed
        );
    }
}

#[test]
fn keys_that_cannot_be_validated_are_a_failure_and_a_root_that_is_not_reached_is_none() {
    for (code, state) in [(6, Fail), (9, Fail), (22, Indeterminate), (23, Indeterminate)] {
        let mut dossier = holding();
        let failed = Saw::Root(RootAnswer {
            rcode: Rcode::SERVFAIL,
            authentic: false,
            extended_errors: vec![code],
            records: vec![],
            unread: 0,
        });
        see(&mut dossier, Aim::RootKeys, None, &failed);
        let verdict = judge(&dossier).verdict;
        assert_eq!(verdict.state, state, "{verdict:?}");
        assert!(verdict.observed.contains(RESOLVER), "{}", verdict.observed);
    }
}

#[test]
fn what_to_do_about_a_new_key_is_named() {
    let mut dossier = published(vec![RootRecord::Key(key(TAG)), RootRecord::Key(key(7))]);
    let message = judge(&dossier).verdict.message;
    assert!(
        message.contains("no name resolves any more")
            && message.contains("`. DS 7 13 2 0707")
            && message.contains("ConfigMap our-keys"),
        "{message}"
    );
    start_of(&mut dossier).anchors = Source::Bundled;
    let message = judge(&dossier).verdict.message;
    assert!(message.contains("Update tsutsumi"), "{message}");
}

#[test]
fn keys_that_are_revoked_or_not_published_are_remarked_on() {
    let revoked = judge(&published(vec![
        RootRecord::Key(key(7)),
        RootRecord::Revoked(key(TAG)),
    ]))
    .verdict;
    assert!(
        revoked.message.contains("Key 38696 was revoked"),
        "{}",
        revoked.message
    );
    assert!(
        revoked.message.contains("does not publish key 38696"),
        "{}",
        revoked.message
    );
    let message = judge(&holding()).verdict.message;
    assert!(!message.contains("38696"), "{message}");
}

#[test]
fn every_pod_and_every_resolver_counts() {
    assert!(judge(&holding()).verdict.observed.starts_with("at 3 pods"));
    for place in [Place::Pod(PODS[0].into()), Place::Resolver(RESOLVER.into())] {
        let mut dossier = holding();
        let is = Aim::Sentinel(Sentinel::Is, TAG);
        dossier
            .steps
            .retain(|(purpose, _)| purpose.aim != is || purpose.place != place);
        assert_eq!(judge(&dossier).verdict.state, Indeterminate);
    }
    let mut gone = holding();
    gone.resolvers.clear();
    assert_eq!(judge(&gone).verdict.state, Indeterminate);
}

#[test]
fn without_a_zone_or_a_start_nothing_is_known_and_without_a_wish_nothing_is_asked() {
    let mut dossier = holding();
    dossier.zone = Availability::Missing("it does not run".into());
    assert_eq!(judge(&dossier).verdict.state, Indeterminate);
    let mut dossier = holding();
    dossier.root = Root::Unknown("anchorsConfigMap: line 1".into());
    let verdict = judge(&dossier).verdict;
    assert_eq!(verdict.state, Indeterminate);
    assert!(verdict.message.contains("line 1"), "{}", verdict.message);
    // Resolvers of the user's are asked to validate, and what they start from is theirs.
    dossier.root = Root::Unasked;
    assert_eq!(judge(&dossier).verdict.state, NotApplicable);
    let mut dossier = holding();
    dossier.asked.validation = false;
    assert_eq!(judge(&dossier).verdict.state, NotApplicable);
}
