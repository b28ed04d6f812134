//! The hardening of whole Corefiles: what must hold for any foreign text.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod support;

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;
use support::{capabilities, desired, endpoint, probe, run};
use tsutsumi_providers::coredns::acl::{self, Decision};
use tsutsumi_providers::coredns::bufsize::{self, MessageBytes};
use tsutsumi_providers::coredns::corefile::{Block, Corefile, Surroundings};
use tsutsumi_providers::coredns::forward::Forward;
use tsutsumi_providers::coredns::hop::Encrypted;
use tsutsumi_providers::coredns::{Desired, Lead, Note, Others, Ownership, Root, restore};

const ADDRESSES: [&str; 9] = [
    "10.0.0.1",
    "10.1.0.1",
    "10.1.128.1",
    "10.2.3.4",
    "10.255.0.1",
    "192.0.2.1",
    "8.8.8.8",
    "fd00::1",
    "2001:db8::1",
];
const NETS: [&str; 9] = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.128.0/17",
    "10.2.3.4",
    "192.0.2.0/24",
    "0.0.0.0/0",
    "::/0",
    "fd00::/8",
    "*",
];
const TYPES: [&str; 5] = ["A", "AAAA", "ANY", "TXT", "*"];
const NAMES: [&str; 3] = ["a.test.", "x.b.test.", "other."];

prop_compose! {
    fn policy()(
        action in prop::sample::select(&["allow", "block", "filter", "drop", "allow"][..]),
        types in prop::sample::subsequence(&TYPES[..], 0..3),
        nets in prop::sample::subsequence(&NETS[..], 0..4),
    ) -> String {
        let section = |name: &str, values: &[&str]| if values.is_empty() { String::new() } else { format!(" {name} {}", values.join(" ")) };
        format!("{action}{}{}", section("type", &types), section("net", &nets))
    }
}

fn acl_text() -> impl Strategy<Value = String> {
    (
        prop::sample::select(&["", "", " b.test", " .", " a.test b.test"][..]),
        prop::collection::vec(policy(), 0..4),
    )
        .prop_map(|(zones, policies)| {
            let lines: Vec<_> = policies
                .iter()
                .map(|policy| format!("        {policy}\n"))
                .collect();
            format!("acl{zones} {{\n{}    }}", lines.concat())
        })
}

fn directive(imports: &'static [&'static str]) -> impl Strategy<Value = String> {
    let fixed = [
        "errors",
        "errors # note",
        "# only a note",
        "",
        "cache 30 {\n        servfail 5s\n    }",
        "bufsize",
        "bufsize 512",
        "bufsize 4096",
        "forward . 9.9.9.9",
        "forward b.test 192.0.2.9",
        "forward . 9.9.9.9 {\n        expire 10s\n    }",
        "forward . tls://9.9.9.9 {\n    }",
        "forward . 192.0.2.1 {\n        except b.test\n        expire 10s\n        except x.test\n    }",
        "forward . 9.9.9.9 { policy random\n    }",
        "log \"{x}\" \"a b\"",
        "dnstap tcp://192.0.2.9:6000 full",
        "loop",
    ];
    prop_oneof![
        4 => prop::sample::select(fixed.to_vec()).prop_map(str::to_owned),
        4 => acl_text(),
        1 => prop::sample::select(imports.to_vec()).prop_map(str::to_owned),
    ]
}

fn corefile() -> impl Strategy<Value = String> {
    let block = |key: &'static str| {
        let imports: &[&str] = &[
            "import s",
            "import *.override",
            "log . {\n        import opts\n    }",
            "errors",
        ];
        prop::collection::vec(directive(imports), 0..5).prop_map(move |lines| {
            let body: Vec<_> = lines.iter().map(|line| format!("    {line}\n")).collect();
            format!("{key} {{\n{}}}\n", body.concat())
        })
    };
    let snippet = prop::collection::vec(directive(&["errors"]), 0..3)
        .prop_map(|lines| format!("(opts) {{\n class error\n}}\n(s) {{\n{}\n}}\n", lines.join("\n")));
    let nsid = prop::sample::select(
        &[
            "",
            "a.test {\n    nsid theirs\n}\n",
            "b.test:53 c.test {nsid\n}\n",
            "d.test {#c errors\n}\n",
        ][..],
    );
    let top = prop::sample::select(
        &[
            "",
            "",
            "import *.server\n",
            "(k) {\n.:54\n}\nimport k\n{\nwhoami\n}\n",
        ][..],
    );
    (
        snippet,
        top,
        block(".:53"),
        block("tls://b.test"),
        nsid,
        any::<bool>(),
    )
        .prop_map(|(snippet, top, first, second, nsid, crlf)| {
            let text = format!("{snippet}{top}{first}# between\n{second}{nsid}");
            if crlf { text.replace('\n', "\r\n") } else { text }
        })
}

fn wishes() -> impl Strategy<Value = Desired> {
    let nets = [
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.128.0/17",
        "fd00::/8",
        "192.0.2.0/25",
    ];
    (
        prop::sample::subsequence(nets.to_vec(), 1..4),
        any::<bool>(),
        any::<bool>(),
        prop::sample::select(&[512_u16, 1232, 4096][..]),
        prop::sample::select(&["", "10.96.0.20:53", "[fd00::20]:1053 192.0.2.53:53"][..]),
        prop::sample::subsequence(&["10.96.0.30:53", "[fd00::30]:1053"][..], 0..=2),
        any::<bool>(),
        prop::sample::select(&["", "10.96.0.40:8444", "[fd00::40]:8444"][..]),
    )
        .prop_map(|(allow, any_empty, drop, size, server, root, encrypted, tap)| {
            let mut wish = desired(&allow);
            wish.any_empty = any_empty;
            wish.clients.as_mut().unwrap().others = if drop { Others::Drop } else { Others::Refuse };
            wish.max_message_bytes = MessageBytes::new(size).ok();
            let servers = server.split_whitespace();
            wish.probe = Some(
                servers
                    .zip(["probe.tsutsumi.test", "probe-outside.tsutsumi.test"])
                    .map(|(server, zone)| Lead {
                        zone: zone.parse().unwrap(),
                        ..probe(server)
                    })
                    .collect(),
            );
            wish.tap = (!tap.is_empty()).then(|| endpoint(tap));
            wish.root = Some(match root.as_slice() {
                [] => Root::AsItIs,
                [one] if encrypted => Root::Encrypted(Encrypted {
                    server: endpoint(one),
                    name: "resolver.tsutsumi.test".parse().unwrap(),
                    authorities: "/etc/ca/0a.crt".parse().unwrap(),
                }),
                several => Root::Servers(several.iter().map(|text| endpoint(text)).collect()),
            });
            wish
        })
}

fn with_file(text: &str, file: &str) -> Corefile {
    let files = BTreeMap::from([("x.override".to_owned(), file.to_owned())]);
    Corefile::parse_with(text, &Surroundings::with_files(files)).unwrap()
}

/// None where it cannot be read: a snippet with `bufsize` that is imported twice gives a word too many.
fn size(block: &Block) -> Option<u16> {
    bufsize::of(block).map_or(Some(u16::MAX), |size| size.bytes(capabilities()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_second_run_changes_nothing(text in corefile(), wish in wishes()) {
        let first = run(&text, &wish, &Ownership::default());
        let second = run(&first.text, &wish, &first.ownership);
        prop_assert_eq!(&second.text, &first.text);
        prop_assert_eq!(&second.changes, &[]);
        prop_assert_eq!(second.ownership, first.ownership);
    }

    #[test]
    fn restoring_gives_back_every_byte(text in corefile(), wish in wishes()) {
        let made = run(&text, &wish, &Ownership::default());
        prop_assert_eq!(restore(&made.text, &made.ownership).unwrap().text, text);
    }

    #[test]
    fn a_new_policy_leaves_no_trace_of_the_old(text in corefile(), old in wishes(), new in wishes()) {
        let first = run(&text, &old, &Ownership::default());
        let second = run(&first.text, &new, &first.ownership);
        prop_assert_eq!(second.text, run(&text, &new, &Ownership::default()).text);
    }

    #[test]
    fn a_lost_record_changes_nothing_where_our_mark_stands(text in corefile(), wish in wishes()) {
        prop_assume!(!text.contains("nsid"));
        let first = run(&text, &wish, &Ownership::default());
        let second = run(&first.text, &wish, &Ownership::default());
        prop_assert_eq!(&second.text, &first.text);
        prop_assert_eq!(&second.changes, &[]);
    }

    #[test]
    fn only_what_went_to_the_root_s_servers_goes_to_ours(text in corefile(), wish in wishes()) {
        let made = run(&text, &wish, &Ownership::default());
        let (foreign, result) = (with_file(&text, ""), with_file(&made.text, ""));
        for (foreign, result) in foreign.blocks().iter().zip(result.blocks()) {
            for name in NAMES {
                let (was, is) = (asked(foreign, name), asked(result, name));
                let leads = match (&wish.root, &was) {
                    // What the first one of the root excepts goes past it, and past ours.
                    (Some(root @ (Root::Servers(_) | Root::Encrypted(_))), Some((from, _)))
                        if from == "." && foreign.keys() == [".:53"] && !excepted(foreign, name) =>
                    {
                        let ours: Vec<_> = match root {
                            Root::Servers(servers) => servers.iter().map(ToString::to_string).collect(),
                            Root::Encrypted(hop) => vec![format!("tls://{}", hop.server)],
                            Root::AsItIs => vec![],
                        };
                        let elsewhere = made.notes.iter().any(|note| matches!(note, Note::NothingLeads { .. }));
                        if elsewhere { is == was } else { is == Some((".".to_owned(), ours)) }
                    }
                    _ => is == was,
                };
                prop_assert!(leads, "{}: {:?}, then {:?}\n{}", name, was, is, made.text);
            }
        }
    }

    #[test]
    fn a_query_passes_exactly_if_both_let_it_pass(text in corefile(), hidden in prop::collection::vec(acl_text(), 0..2), wish in wishes()) {
        let made = run(&text, &wish, &Ownership::default());
        let hidden = hidden.join("\n") + "\n";
        let (foreign, result) = (with_file(&text, &hidden), with_file(&made.text, &hidden));
        let ours = fresh_rules(&wish);
        for (foreign, result) in foreign.blocks().iter().zip(result.blocks()) {
            let (foreign_rules, rules) = (acl::of(foreign).unwrap(), acl::of(result).unwrap());
            for name in NAMES {
                for address in ADDRESSES {
                    for kind in ["A", "AAAA", "ANY", "TXT", "MX"] {
                        let passes = |rules: &[acl::Rule]| {
                            acl::decide(rules, name, address.parse::<IpAddr>().unwrap(), kind) == Decision::Passed
                        };
                        let both = passes(&foreign_rules) && passes(&ours);
                        prop_assert_eq!(passes(&rules), both, "{} {} {}\n{}\nwith {}", name, address, kind, made.text, hidden);
                    }
                }
            }
            let Some(before) = size(foreign) else { continue };
            let after = size(result).unwrap();
            prop_assert!(after <= before);
            if !text.contains("*.override") {
                prop_assert_eq!(after, before.min(wish.max_message_bytes.unwrap().bytes()));
            }
        }
    }
}

/// The first `forward` that takes the name, and whom it asks.
fn asked(block: &Block, name: &str) -> Option<(String, Vec<String>)> {
    let mut forwards = block.directives().iter().filter_map(Forward::of);
    let takes = |forward: &Forward<'_>| {
        let fits = forward.from == "." || is_below(name, forward.from);
        fits && !forward.values("except").iter().any(|zone| is_below(name, zone))
    };
    let forward = forwards.find(takes)?;
    let to = forward.to.iter().map(|&to| to.to_owned()).collect();
    Some((forward.from.to_owned(), to))
}

/// Whether the first `forward` of the root does not take the name.
fn excepted(block: &Block, name: &str) -> bool {
    let mut forwards = block.directives().iter().filter_map(Forward::of);
    let root = forwards.find(|forward| forward.from == ".");
    root.is_some_and(|forward| forward.values("except").iter().any(|zone| is_below(name, zone)))
}

fn is_below(name: &str, zone: &str) -> bool {
    name.ends_with(&format!("{zone}."))
}

fn fresh_rules(wish: &Desired) -> Vec<acl::Rule> {
    let made = run(". {\n}\n", wish, &Ownership::default());
    acl::of(&Corefile::parse(&made.text).unwrap().blocks()[0]).unwrap()
}
