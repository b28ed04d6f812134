//! The hardening of whole Corefiles: the form written, one example per rule.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use support::{capabilities, desired, endpoint, probe, run};
use tsutsumi_providers::coredns::bufsize::{self, BufSize, MessageBytes};
use tsutsumi_providers::coredns::corefile::Corefile;
use tsutsumi_providers::coredns::hop::Encrypted;
use tsutsumi_providers::coredns::version::Capabilities;
use tsutsumi_providers::coredns::{
    Clients, Desired, ForwardHardening, HardenError, Hardened, Lead, Made, Note, Others, Ownership, Role,
    Root, harden, restore, shown_by, taps,
};

fn outside(server: &str) -> Lead {
    Lead {
        zone: "probe-outside.tsutsumi.test".parse().unwrap(),
        ..probe(server)
    }
}

fn fresh(text: &str, allow: &[&str]) -> Hardened {
    run(text, &desired(allow), &Ownership::default())
}

const STOCK: &str = "\
.:53 {
    errors # keep me
    health {
       lameduck 5s
    }
    forward . /etc/resolv.conf {
       max_concurrent 500
    }
    cache 30
    loop
}
tls://example.org:853 {
    forward . 9.9.9.9
}
";

/// A wish to ask one server for all that no other `forward` is for, each time from a fresh port.
fn led_elsewhere() -> Desired {
    Desired {
        forward: Some(ForwardHardening {
            fresh_ports: true,
            ..ForwardHardening::default()
        }),
        root: Some(Root::Servers(vec![endpoint("10.96.0.30:53")])),
        ..Desired::default()
    }
}

#[test]
fn the_form_written() {
    let made = fresh(STOCK, &["10.0.0.0/8", "127.0.0.1/32", "fd00::/8"]);
    let expected = "\
.:53 {
    nsid NSID
    acl {
        filter type ANY net 10.0.0.0/8 127.0.0.1/32 fd00::/8
        allow net 10.0.0.0/8 127.0.0.1/32 fd00::/8
        block
    }
    bufsize 1232
    errors # keep me
    health {
       lameduck 5s
    }
    forward . /etc/resolv.conf {
       expire 0s
       failfast_all_unhealthy_upstreams
       max_concurrent 500
    }
    cache 30
    loop
}
tls://example.org:853 {
    nsid NSID
    acl {
        filter type ANY net 10.0.0.0/8 127.0.0.1/32 fd00::/8
        allow net 10.0.0.0/8 127.0.0.1/32 fd00::/8
        block
    }
    bufsize 1232
    forward . 9.9.9.9 {
        expire 0s
        max_concurrent 1000
        failfast_all_unhealthy_upstreams
    }
}
";
    assert_eq!(
        made.text,
        expected.replace("NSID", &made.identity.ours.to_string())
    );
    assert_eq!(shown_by(&made.text).unwrap(), made.identity.blocks);
    assert_eq!(made.notes, []);
    assert!(made.changes.iter().all(|change| change.made == Made::Added));
}

#[test]
fn another_edition_differs_in_its_identity_and_nothing_else() {
    let made = fresh(STOCK, &["10.0.0.0/8"]);
    let wish = Desired {
        edition: 1,
        ..desired(&["10.0.0.0/8"])
    };
    let second = run(&made.text, &wish, &made.ownership);
    let (old, new) = (made.identity.ours.to_string(), second.identity.ours.to_string());
    assert_ne!(old, new);
    assert_eq!(second.text, made.text.replace(&old, &new));
    assert_eq!(run(&second.text, &wish, &second.ownership).text, second.text);
}

#[test]
fn the_record_survives_json() {
    let made = fresh(STOCK, &["10.0.0.0/8"]);
    let json = serde_json::to_string(&made.ownership).unwrap();
    let read: Ownership = serde_json::from_str(&json).unwrap();
    assert_eq!(read, made.ownership);
    assert_eq!(run(&made.text, &desired(&["10.0.0.0/8"]), &read).changes, []);
}

#[test]
fn foreign_allowances_are_narrowed_and_denials_stay_first() {
    let text = ".:53 {\n    acl {\n        drop net 10.9.0.0/16\n        allow net 10.0.0.0/8 192.0.2.0/24\n    }\n    whoami\n}\n";
    let made = fresh(text, &["10.0.0.0/9"]);
    let lines: Vec<_> = made.text.lines().map(str::trim).collect();
    assert!(
        lines.contains(&"block net 10.128.0.0/9 192.0.2.0/24"),
        "{}",
        made.text
    );
    assert!(lines.contains(&"filter type ANY net 10.0.0.0/13 10.8.0.0/16 10.10.0.0/15 10.12.0.0/14 10.16.0.0/12 10.32.0.0/11 10.64.0.0/10"), "{}", made.text);
    assert!(
        made.text.contains(&text[8..text.len() - 15]),
        "foreign bytes: {}",
        made.text
    );
    assert!(
        lines.last() == Some(&"}")
            && made.text.find("drop net").unwrap() < made.text.rfind("allow net 10.0.0.0/9").unwrap()
    );
}

#[test]
fn a_foreign_nsid_is_kept_and_told() {
    let made = fresh(".:53 {\n    nsid theirs\n}\n", &["10.0.0.0/8"]);
    assert_eq!(made.text.matches("nsid").count(), 1);
    assert!(made.notes.contains(&Note::ForeignNsid {
        block: vec![".:53".into()]
    }));
}

#[test]
fn a_snippet_is_present_but_never_edited() {
    let text = "(common) {\n    bufsize 4096\n    nsid theirs\n    acl {\n        allow net 192.0.2.0/24\n    }\n    forward . 9.9.9.9\n}\n.:53 {\n    import common\n    whoami\n}\n";
    let made = fresh(text, &["10.0.0.0/8"]);
    assert!(
        made.text.starts_with(
            text.split("whoami")
                .next()
                .unwrap()
                .rsplit_once(".:53")
                .unwrap()
                .0
        )
    );
    assert!(
        made.notes
            .iter()
            .any(|note| matches!(note, Note::ForwardElsewhere { .. }))
    );
    let block = &Corefile::parse(&made.text).unwrap().blocks()[0].clone();
    assert_eq!(
        bufsize::of(block),
        Some(BufSize::Set(MessageBytes::new(1232).unwrap()))
    );
    let import = made.text.rfind("import common").unwrap();
    assert!(
        made.text.find("block net 192.0.2.0/24").unwrap() < import
            && import < made.text.rfind("acl {").unwrap()
    );
}

#[test]
fn stricter_foreign_settings_stay() {
    let text = ".:53 {\n    bufsize 512\n    forward . 9.9.9.9 {\n        expire 10s\n        max_concurrent 7\n        failfast_all_unhealthy_upstreams\n    }\n    forward b.test tls://9.9.9.9\n}\n";
    let made = fresh(text, &["10.0.0.0/8"]);
    assert!(!made.text.contains("1232") && !made.text.contains("expire 0s"));
    let block = || vec![".:53".to_owned()];
    assert!(made.notes.contains(&Note::ForeignExpire {
        block: block(),
        from: ".".into(),
        value: "10s".into()
    }));
    assert!(made.notes.contains(&Note::EncryptedForward {
        block: block(),
        from: "b.test".into()
    }));
}

#[test]
fn ours_follows_the_policy_and_what_is_not_wished_stays() {
    let first = fresh(STOCK, &["10.0.0.0/8"]);
    let wider = run(
        &first.text,
        &desired(&["10.0.0.0/8", "192.0.2.0/24"]),
        &first.ownership,
    );
    assert_eq!(wider.text.matches("acl {").count(), 2);
    assert!(wider.text.contains("allow net 10.0.0.0/8 192.0.2.0/24"));
    let unset = Desired {
        max_message_bytes: MessageBytes::new(1400).ok(),
        ..Desired::default()
    };
    let larger = run(&wider.text, &unset, &wider.ownership);
    assert!(larger.text.contains("allow net 10.0.0.0/8 192.0.2.0/24") && larger.text.contains("expire 0s"));
    assert!(larger.text.contains("bufsize 1400") && !larger.text.contains("1232"));
    assert_eq!(run(&larger.text, &unset, &larger.ownership).changes, []);
    assert_eq!(restore(&larger.text, &larger.ownership).unwrap().text, STOCK);
}

#[test]
fn what_was_altered_is_no_longer_ours() {
    let made = fresh(STOCK, &["10.0.0.0/8"]);
    let altered = made.text.replacen("bufsize 1232", "bufsize 900", 1);
    let restored = restore(&altered, &made.ownership).unwrap();
    assert_eq!(
        restored.text,
        STOCK.replacen(".:53 {", ".:53 {\n    bufsize 900", 1)
    );
    let lost: Vec<_> = restored
        .altered
        .iter()
        .map(|change| change.text.as_str())
        .collect();
    assert_eq!(lost, ["bufsize 1232"]);
    let again = run(&altered, &desired(&["10.0.0.0/8"]), &made.ownership);
    assert_eq!(again.text.matches("bufsize 1232").count(), 1);
    assert!(again.changes.iter().any(|change| change.role == Role::Nsid));
}

#[test]
fn a_comment_between_our_words_stays_whatever_becomes_of_them() {
    for newline in ["\n", "\r\n"] {
        let stock = STOCK.replace('\n', newline);
        let made = fresh(&stock, &["10.0.0.0/8"]);
        let lines: Vec<&str> = made.text.split_inclusive(newline).collect();
        for at in 0..lines.len() {
            for comment in [" # own".to_owned(), format!("{newline}# own # \"line")] {
                let line = lines[at].strip_suffix(newline).unwrap();
                let (before, after) = (lines[..at].concat(), lines[at + 1..].concat());
                let noted = format!("{before}{line}{comment}{newline}{after}");
                for allow in ["10.0.0.0/8", "192.0.2.0/24"] {
                    let again = run(&noted, &desired(&[allow]), &made.ownership);
                    assert_eq!(
                        again.text.matches("# own").count(),
                        1,
                        "{noted}\n→\n{}",
                        again.text
                    );
                    let third = run(&again.text, &desired(&[allow]), &again.ownership);
                    assert_eq!(third.text, again.text, "{noted}");
                    assert_eq!(third.changes, [], "{noted}");
                }
                let back = restore(&noted, &made.ownership).unwrap().text;
                assert_eq!(back.matches("# own").count(), 1, "{noted}\n→\n{back}");
                let words = |text: &str| {
                    let tree = Corefile::parse(text).unwrap();
                    tree.lexemes()
                        .iter()
                        .map(|word| word.text.clone())
                        .collect::<Vec<_>>()
                };
                assert_eq!(words(&back), words(&stock), "{noted}\n→\n{back}");
            }
        }
    }
}

#[test]
fn what_cannot_be_seen_is_taken_for_anything() {
    let made = fresh(
        ".:53 {\n    {$DIRECTIVE} {\n        allow\n    }\n    any\n}\n",
        &["10.0.0.0/8"],
    );
    let body: Vec<_> = made.text.lines().map(str::trim).collect();
    assert!(body[3].starts_with("block net 0.0.0.0/5 "), "{}", made.text);
    assert!(made.text.find("{$DIRECTIVE}").unwrap() < made.text.find("bufsize").unwrap());
    let block = || vec![".:53".to_owned()];
    assert!(made.notes.contains(&Note::OpaqueDirective {
        block: block(),
        name: "{$DIRECTIVE}".into()
    }));
    assert!(made.notes.contains(&Note::AnswersBeforeAcl {
        block: block(),
        directive: "any".into()
    }));
}

#[test]
fn a_foreign_acl_equal_to_ours_stays() {
    let acl = "    acl {\n        filter type ANY net 10.0.0.0/8\n        allow net 10.0.0.0/8\n        block\n    } # theirs\n";
    let text = format!(".:53 {{\n{acl}    whoami\n}}\n");
    let made = fresh(&text, &["10.0.0.0/8"]);
    assert_eq!(made.text.matches("block\n").count(), 2);
    assert_eq!(restore(&made.text, &made.ownership).unwrap().text, text);
}

#[test]
fn refusals() {
    let none = Desired {
        clients: Some(Clients {
            allow: vec![],
            others: Others::Drop,
        }),
        ..Desired::default()
    };
    let refused =
        |text: &str, desired: &Desired| harden(text, desired, &Ownership::default(), &capabilities());
    assert!(matches!(refused(STOCK, &none), Err(HardenError::NoClients)));
    assert!(matches!(refused(".:53 {", &none), Err(HardenError::Syntax(_))));
    let bad_acl = ".:53 {\n    acl {\n        allow net 10.0.0.0/8 }\n    }\n}\n";
    assert!(matches!(
        refused(bad_acl, &desired(&["::/0"])),
        Err(HardenError::Acl { .. })
    ));
}

#[test]
fn old_releases_get_what_they_know() {
    let old = Capabilities::of("1.9.4".parse().unwrap());
    let mut wish = desired(&["10.0.0.0/8"]);
    wish.clients.as_mut().unwrap().others = Others::Drop;
    let made = harden(STOCK, &wish, &Ownership::default(), &old).unwrap();
    assert!(!made.text.contains("drop") && !made.text.contains("failfast"));
    assert_eq!(made.notes.len(), 3, "{:?}", made.notes);
}

#[test]
fn the_probe_zone_is_asked_for_at_its_own_server_from_blocks_that_forward_the_root() {
    let text = "\
.:53 {
    forward town.example 192.0.2.1
    forward . /etc/resolv.conf
}
example.org {
    forward . 9.9.9.9
}
. {
    whoami
}
";
    let wish = Desired {
        probe: Some(vec![probe("10.96.0.20:53"), outside("192.0.2.53:53")]),
        ..Desired::default()
    };
    let made = run(text, &wish, &Ownership::default());
    let expected = "\
.:53 {
    nsid NSID
    forward probe.tsutsumi.test 10.96.0.20:53
    forward probe-outside.tsutsumi.test 192.0.2.53:53
    forward town.example 192.0.2.1
    forward . /etc/resolv.conf
}
example.org {
    nsid NSID
    forward . 9.9.9.9
}
. {
    nsid NSID
    whoami
}
";
    let nsid = made.identity.ours.to_string();
    assert_eq!(made.text, expected.replace("NSID", &nsid));

    let moved = Desired {
        probe: Some(vec![probe("[fd00::20]:53"), outside("192.0.2.53:53")]),
        ..wish.clone()
    };
    let moved = run(&made.text, &moved, &made.ownership);
    assert!(moved.text.contains("forward probe.tsutsumi.test [fd00::20]:53\n"));
    assert!(
        moved
            .text
            .contains("forward probe-outside.tsutsumi.test 192.0.2.53:53\n")
    );
    assert!(!moved.text.contains("10.96.0.20"));
    let alone = Desired {
        probe: Some(vec![probe("10.96.0.20:53")]),
        ..wish.clone()
    };
    let alone = run(&made.text, &alone, &made.ownership).text;
    assert!(!alone.contains("outside") && alone.contains("forward probe.tsutsumi.test 10.96.0.20:53\n"));

    let unknown = run(&made.text, &Desired::default(), &made.ownership);
    assert_eq!(
        unknown.text, made.text,
        "an address that is not known leaves the one that was"
    );

    let gone = Desired {
        probe: Some(vec![]),
        ..Desired::default()
    };
    assert!(!run(&made.text, &gone, &made.ownership).text.contains("probe."));
    assert_eq!(restore(&made.text, &made.ownership).unwrap().text, text);
}

#[test]
fn where_somebody_forwards_the_probe_zone_already_theirs_stays_alone() {
    let text = ". {\n    forward Probe.Tsutsumi.Test. 192.0.2.7\n    forward . 9.9.9.9\n}\n";
    let wish = Desired {
        probe: Some(vec![probe("10.96.0.20:53"), outside("192.0.2.53:53")]),
        ..Desired::default()
    };
    let made = run(text, &wish, &Ownership::default()).text;
    assert!(made.contains("forward probe-outside.tsutsumi.test 192.0.2.53:53\n"));
    assert!(!made.contains("10.96.0.20"), "{made}");
}

#[test]
fn the_root_leads_to_the_servers_of_the_policy_and_every_other_zone_where_it_led() {
    let text = "\
.:53 {
    errors
    forward town.example 192.0.2.1
    # whom the installer named
    forward . /etc/resolv.conf {
        max_concurrent 1000
    }
}
corp.example {
    forward . 9.9.9.9
}
";
    let wish = led_elsewhere();
    let made = run(text, &wish, &Ownership::default());
    let expected = "\
.:53 {
    nsid NSID
    errors
    forward town.example 192.0.2.1 {
        expire 0s
    }
    forward . 10.96.0.30:53 {
        expire 0s
    }
    # whom the installer named
    forward . /etc/resolv.conf {
        expire 0s
        max_concurrent 1000
    }
}
corp.example {
    nsid NSID
    forward . 9.9.9.9 {
        expire 0s
    }
}
";
    let nsid = made.identity.ours.to_string();
    assert_eq!(made.text, expected.replace("NSID", &nsid));
    assert_eq!(made.notes, []);
    let unset = Desired {
        root: None,
        ..wish.clone()
    };
    assert_eq!(
        run(&made.text, &unset, &made.ownership).text,
        made.text,
        "what is not wished stays"
    );
    let back = Desired {
        root: Some(Root::AsItIs),
        ..wish
    };
    let back = run(&made.text, &back, &made.ownership);
    assert!(!back.text.contains("10.96.0.30"), "{}", back.text);
    assert_eq!(restore(&back.text, &back.ownership).unwrap().text, text);
    assert_eq!(restore(&made.text, &made.ownership).unwrap().text, text);
}

#[test]
fn what_the_root_s_forward_excepts_goes_past_ours_too() {
    let text = "\
.:53 {
    forward . 9.9.9.9 192.0.2.9 {
        except corp.example
        max_concurrent 1000
        except 10.0.0.0/8 lab.example
    }
    forward corp.example 192.0.2.1
    forward . 192.0.2.2
}
";
    let wish = led_elsewhere();
    let made = run(text, &wish, &Ownership::default());
    let ours = "    forward . 10.96.0.30:53 {\n        except corp.example 10.0.0.0/8 lab.example\n        expire 0s\n    }\n    \
                forward . 9.9.9.9 192.0.2.9 {\n";
    assert!(made.text.contains(ours), "{}", made.text);
    assert_eq!(run(&made.text, &wish, &made.ownership).text, made.text);
    assert_eq!(restore(&made.text, &made.ownership).unwrap().text, text);

    let fewer = made.text.replace("        except 10.0.0.0/8 lab.example\n", "");
    let followed = run(&fewer, &wish, &made.ownership);
    assert!(
        followed
            .text
            .contains("    forward . 10.96.0.30:53 {\n        except corp.example\n        expire 0s\n"),
        "ours follows: {}",
        followed.text
    );
}

#[test]
fn a_hop_over_tls_verifies_a_name_and_goes_back_to_udp_without_a_trace() {
    let text = ".:53 {\n    forward . /etc/resolv.conf {\n        max_concurrent 1000\n    }\n}\n";
    let encrypted = |file: &str| Desired {
        forward: Some(ForwardHardening {
            fresh_ports: true,
            ..ForwardHardening::default()
        }),
        root: Some(Root::Encrypted(Encrypted {
            server: endpoint("10.96.0.30:853"),
            name: "resolver.tsutsumi.test".parse().unwrap(),
            authorities: file.parse().unwrap(),
        })),
        ..Desired::default()
    };
    let made = run(text, &encrypted("/etc/ca/0a.crt"), &Ownership::default());
    let leads = "    forward . tls://10.96.0.30:853 {
        tls_servername resolver.tsutsumi.test
        tls /etc/ca/0a.crt
    }
    forward . /etc/resolv.conf {
        expire 0s
        max_concurrent 1000
    }
";
    assert!(made.text.contains(leads), "{}", made.text);
    assert_eq!(
        made.notes,
        [],
        "our own hop needs no ports, and nobody has to be told"
    );
    let other = run(&made.text, &encrypted("/etc/ca/0b.crt"), &made.ownership);
    assert_ne!(
        other.identity, made.identity,
        "CoreDNS loads other authorities only with another text"
    );
    let plain = Desired {
        root: Some(Root::Servers(vec![endpoint("10.96.0.30:53")])),
        ..encrypted("/etc/ca/0a.crt")
    };
    let back = run(&other.text, &plain, &other.ownership);
    assert_eq!(back.text, run(text, &plain, &Ownership::default()).text);
    assert_eq!(restore(&other.text, &other.ownership).unwrap().text, text);
}

#[test]
fn a_text_that_forwards_the_root_nowhere_is_told_and_left() {
    let wish = Desired {
        root: Some(Root::Servers(vec![endpoint("10.96.0.30:53")])),
        ..Desired::default()
    };
    for text in [
        ". {\n    whoami\n}\n",
        "(up) {\n    forward . 9.9.9.9\n}\n. {\n    import up\n}\n",
    ] {
        let made = run(text, &wish, &Ownership::default());
        assert!(!made.text.contains("10.96.0.30"), "{}", made.text);
        let told = made
            .notes
            .iter()
            .any(|note| matches!(note, Note::NothingLeads { servers } if servers == "10.96.0.30:53"));
        assert!(told, "{:?}", made.notes);
    }
}

#[test]
fn a_tap_comes_and_goes_and_those_of_others_stay() {
    let text = "\
.:53 {
    dnstap tcp://192.0.2.9:6000 full
    forward . 9.9.9.9
}
corp.example {
    forward . 9.9.9.9
}
. {
    whoami
}
";
    let wish = Desired {
        tap: Some(endpoint("10.96.0.40:8444")),
        ..Desired::default()
    };
    let made = run(text, &wish, &Ownership::default());
    let expected = "\
.:53 {
    nsid NSID
    dnstap tcp://10.96.0.40:8444 full
    dnstap tcp://192.0.2.9:6000 full
    forward . 9.9.9.9
}
corp.example {
    nsid NSID
    forward . 9.9.9.9
}
. {
    nsid NSID
    whoami
}
";
    assert_eq!(
        made.text,
        expected.replace("NSID", &made.identity.ours.to_string())
    );
    assert!(taps(&made.text, &made.ownership).unwrap());
    let known_by_its_form = taps(&made.text, &Ownership::default()).unwrap();
    assert!(known_by_its_form, "a lost record leaves it in for good");
    // Unlike any other wish: what is not wished goes.
    let gone = run(&made.text, &Desired::default(), &made.ownership);
    assert!(!taps(&gone.text, &gone.ownership).unwrap(), "{}", gone.text);
    assert!(gone.text.contains("dnstap tcp://192.0.2.9:6000 full"));
    assert_eq!(restore(&gone.text, &gone.ownership).unwrap().text, text);
}

#[test]
fn a_release_that_cannot_tell_two_keeps_the_one_of_others() {
    let wish = Desired {
        tap: Some(endpoint("10.96.0.40:8444")),
        ..Desired::default()
    };
    let foreign = ". {\n    dnstap /run/tap.sock\n    forward . 9.9.9.9\n}\n";
    let hidden = ". {\n    import other/*\n    forward . 9.9.9.9\n}\n";
    let alone = ". {\n    forward . 9.9.9.9\n}\n";
    let old = Capabilities::of("1.10.0".parse().unwrap());
    for (text, capabilities, written) in [
        (foreign, old, false),
        (hidden, old, false),
        (foreign, Capabilities::unknown(), false),
        (foreign, capabilities(), true),
        (alone, old, true),
    ] {
        let made = harden(text, &wish, &Ownership::default(), &capabilities).unwrap();
        assert_eq!(taps(&made.text, &made.ownership).unwrap(), written, "{text}");
        let told = made
            .notes
            .iter()
            .any(|note| matches!(note, Note::ForeignTap { .. }));
        assert_eq!(told, !written, "{text}");
    }
}
