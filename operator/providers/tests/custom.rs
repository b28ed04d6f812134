//! The file that a platform lets us add.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use tsutsumi_providers::coredns::bufsize::MessageBytes;
use tsutsumi_providers::coredns::custom::{Channel, harden_override};
use tsutsumi_providers::coredns::version::Capabilities;
use tsutsumi_providers::coredns::{Clients, Desired, ForwardHardening, Hardened, Note, Others};

const MAIN: &str = ".:53 {\n    errors\n    import /etc/coredns/custom/*.override\n    forward . /etc/resolv.conf\n    cache 30\n}\nimport /etc/coredns/custom/*.server\n";

fn hardened(main: &str, others: &[(&str, &str)], present: Option<&str>) -> Hardened {
    let others = others
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    let channel = Channel {
        corefile: main,
        name: "tsutsumi.override",
        others: &others,
        present,
    };
    let desired = Desired {
        clients: Some(Clients {
            allow: vec!["10.0.0.0/8".parse().unwrap()],
            others: Others::Refuse,
        }),
        max_message_bytes: Some(MessageBytes::new(1232).unwrap()),
        any_empty: true,
        forward: Some(ForwardHardening {
            fresh_ports: true,
            ..Default::default()
        }),
        probe: None,
        root: None,
        tap: None,
        edition: 0,
    };
    harden_override(&channel, &desired, &Capabilities::unknown()).unwrap()
}

#[test]
fn adds_what_can_be_added() {
    let made = hardened(MAIN, &[("a.server", "b.test:53 {\n whoami\n}\n")], None);
    let rest = made.text.split_once('\n').unwrap().1;
    assert_eq!(
        rest,
        "bufsize 1232\nacl {\n    filter type ANY net 10.0.0.0/8\n    allow net 10.0.0.0/8\n    block\n}\n"
    );
    assert!(made.text.starts_with(&format!("nsid {}\n", made.identity.ours)));
    assert!(made.notes.contains(&Note::ForwardElsewhere {
        block: vec![".:53".into()],
        from: ".".into()
    }));
    assert!(made.notes.contains(&Note::NotImported {
        block: vec!["b.test:53".into()]
    }));
    assert_eq!(made.changes.len(), 3);
    assert_eq!(hardened(MAIN, &[], Some(&made.text)).changes, []);
}

#[test]
fn minds_what_others_wrote_before_and_after() {
    let before = ("a.override", "bufsize 4096\nacl {\n allow net 11.0.0.0/8\n}\n");
    let after = (
        "z.override",
        "bufsize 512\nnsid theirs\nacl {\n drop net 10.9.0.0/16\n}\n",
    );
    let made = hardened(MAIN, &[before], None);
    assert!(!made.text.contains("bufsize"));
    assert!(made.notes.contains(&Note::BufSizeBefore {
        block: vec![".:53".into()]
    }));
    assert!(made.notes.contains(&Note::AllowedBefore {
        block: vec![".:53".into()],
        outside: 1
    }));
    let made = hardened(MAIN, &[after], None);
    assert!(
        made.text
            .starts_with("bufsize 512\nacl {\n    block net 0.0.0.0/5"),
        "{}",
        made.text
    );
    assert!(!made.text.contains("allow"));
}

#[test]
fn what_is_not_wished_stays() {
    let after = ("z.override", "acl {\n drop net 10.9.0.0/16\n}\n");
    for others in [&[][..], &[after]] {
        let made = hardened(MAIN, others, None);
        let others = others
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        let channel = Channel {
            corefile: MAIN,
            name: "tsutsumi.override",
            others: &others,
            present: Some(&made.text),
        };
        let kept = harden_override(&channel, &Desired::default(), &Capabilities::unknown()).unwrap();
        assert_eq!(kept.text, made.text);
        assert_eq!(kept.changes, []);
    }
}
