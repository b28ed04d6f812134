use super::*;

fn day(days: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + days * 86_400).unwrap()
}

fn authority(at: i64) -> Authority {
    Authority::next(&Data::new(), day(at)).unwrap()
}

fn filled(data: &Data, authority: &Authority, at: i64) -> Data {
    due(data, authority, day(at)).unwrap().unwrap()
}

fn only(files: &BTreeMap<String, String>) -> &str {
    assert_eq!(files.len(), 1, "{:?}", files.keys());
    files.keys().next().unwrap()
}

/// How many authorities of a Secret vouch for its newest certificate.
fn vouching(data: &Data) -> usize {
    let leaves = leaves(data);
    let chain = certificates(&leaves[0].data(), TLS_CERT);
    let leaf = parsed(&chain[0]).unwrap();
    let bundle = certificates(data, CA_CERT);
    let signed = |one: &&CertificateDer<'static>| {
        leaf.verify_signature(Some(parsed(one).unwrap().public_key()))
            .is_ok()
    };
    bundle.iter().filter(signed).count()
}

#[test]
fn it_is_filled_once_and_a_certificate_outlives_an_operator_that_is_away_for_90_days() {
    let authority = authority(0);
    let first = filled(&Data::new(), &authority, 0);
    assert_eq!(due(&first, &authority, day(89)).unwrap(), None);
    let ends = not_after(&first).unwrap();
    assert!(
        ends >= day(89 + 90),
        "an operator that goes on day 89 may stay away for 90 days"
    );

    let renewed = filled(&first, &authority, 91);
    let (before, after) = (offered(&first).unwrap(), offered(&renewed).unwrap());
    assert_eq!(after.authorities, before.authorities);
    assert_eq!(after.leaves.len(), 2);
    assert_eq!(
        after.leaves[1], before.leaves[0],
        "pods that come up still find the old one"
    );
    assert_eq!(due(&renewed, &authority, day(92)).unwrap(), None);
    let last = filled(&renewed, &authority, 185);
    assert!(
        !offered(&last).unwrap().leaves.contains(&before.leaves[0]),
        "it has ended"
    );
}

#[test]
fn a_renewed_authority_and_an_unrelated_one_stand_beside_the_old_one() {
    let old = authority(0);
    let first = filled(&Data::new(), &old, 0);
    let old_file = offered(&first).unwrap();
    let map = published(&BTreeMap::new(), &first, day(0)).unwrap();
    assert_eq!(only(&map), old_file.authorities);
    assert_eq!(published(&map, &first, day(1)), None);

    for (next, leaves) in [
        (Authority::next(&old.data(), day(1)).unwrap(), 1),
        (authority(1), 2),
    ] {
        let second = filled(&first, &next, 1);
        let offer = offered(&second).unwrap();
        assert_ne!(offer.authorities, old_file.authorities);
        assert_eq!(
            certificates(&second, CA_CERT).len(),
            2,
            "the old one is trusted still"
        );
        assert_eq!(
            offer.leaves.len(),
            leaves,
            "the same key still vouches for what it signed"
        );
        assert_eq!(offer.leaves.last(), old_file.leaves.first());
        assert_eq!(due(&second, &next, day(2)).unwrap(), None);
        let map = published(&map, &second, day(1)).unwrap();
        assert_eq!(map.len(), 2, "a text that names the old file can still be loaded");
        assert!(map.contains_key(&offer.authorities) && map.contains_key(&old_file.authorities));
        assert_eq!(published(&map, &second, day(2)), None);
    }
}

#[test]
fn emptying_both_secrets_has_the_old_authority_forgotten() {
    let next = authority(1);
    let anew = filled(&Data::new(), &next, 1);
    assert_eq!((certificates(&anew, CA_CERT).len(), vouching(&anew)), (1, 1));
}

#[test]
fn what_is_not_ours_or_spoilt_is_neither_offered_nor_published() {
    let authority = authority(0);
    let mut data = filled(&Data::new(), &authority, 0);
    let name = offered(&data).unwrap().leaves.remove(0);
    data.insert(format!("{name}.crt"), b"spoilt".to_vec());
    assert_eq!(offered(&data).unwrap().leaves, Vec::<String>::new());
    let next = filled(&data, &authority, 1);
    assert_eq!(offered(&next).unwrap().leaves.len(), 1);

    let strange = BTreeMap::from([("note".to_owned(), "of somebody".to_owned())]);
    let map = published(&strange, &next, day(1)).unwrap();
    assert_eq!(only(&map), offered(&next).unwrap().authorities);
    assert_eq!(
        published(&BTreeMap::new(), &Data::new(), day(1)),
        None,
        "nothing was issued yet"
    );

    // The certificate of another role, under a name of its own.
    let prober = authority.issue(Peer::Prober, day(0)).unwrap();
    let mut mixed = next.clone();
    let id = content(&prober[TLS_CERT]);
    mixed.insert(format!("{id}.crt"), prober[TLS_CERT].clone());
    mixed.insert(format!("{id}.key"), prober[TLS_KEY].clone());
    let cleaned = filled(&mixed, &authority, 1);
    assert_eq!(cleaned, next, "only the resolver's own name passes");
}
