//! The hardening of whole Corefiles: the form written, and what must hold for any foreign text.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use tsutsumi_providers::coredns::acl::{self, Decision};
use tsutsumi_providers::coredns::bufsize::{self, BufSize, MessageBytes};
use tsutsumi_providers::coredns::corefile::{Corefile, Surroundings};
use tsutsumi_providers::coredns::version::Capabilities;
use tsutsumi_providers::coredns::{
    Clients, Desired, ForwardHardening, HardenError, Hardened, Made, Note, Others, Ownership, Role, harden,
    identity_of, restore,
};

fn desired(allow: &[&str]) -> Desired {
    Desired {
        clients: Some(Clients {
            allow: allow.iter().map(|net| net.parse().unwrap()).collect(),
            others: Others::Refuse,
        }),
        max_message_bytes: Some(MessageBytes::new(1232).unwrap()),
        any_empty: true,
        forward: Some(ForwardHardening {
            fresh_ports: true,
            max_concurrent: NonZeroU32::new(1000),
            failfast: true,
        }),
    }
}

fn capabilities() -> Capabilities {
    Capabilities::of("1.14.7".parse().unwrap())
}

fn run(text: &str, desired: &Desired, ours: &Ownership) -> Hardened {
    harden(text, desired, ours, &capabilities()).unwrap()
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
    assert_eq!(identity_of(&made.text).unwrap(), made.identity);
    assert_eq!(made.notes, []);
    assert!(made.changes.iter().all(|change| change.made == Made::Added));
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
        "forward . 9.9.9.9 {\n        expire 10s\n    }",
        "forward . tls://9.9.9.9 {\n    }",
        "forward . 9.9.9.9 { policy random\n    }",
        "log \"{x}\" \"a b\"",
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
    )
        .prop_map(|(allow, any_empty, drop, size)| {
            let mut wish = desired(&allow);
            wish.any_empty = any_empty;
            wish.clients.as_mut().unwrap().others = if drop { Others::Drop } else { Others::Refuse };
            wish.max_message_bytes = MessageBytes::new(size).ok();
            wish
        })
}

fn with_file(text: &str, file: &str) -> Corefile {
    let files = BTreeMap::from([("x.override".to_owned(), file.to_owned())]);
    Corefile::parse_with(text, &Surroundings::with_files(files)).unwrap()
}

fn size(block: &tsutsumi_providers::coredns::corefile::Block) -> u16 {
    bufsize::of(block).map_or(u16::MAX, |size| size.bytes(capabilities()).unwrap())
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
            prop_assert!(size(result) <= size(foreign));
            if !text.contains("*.override") {
                prop_assert_eq!(size(result), size(foreign).min(wish.max_message_bytes.unwrap().bytes()));
            }
        }
    }
}

fn fresh_rules(wish: &Desired) -> Vec<acl::Rule> {
    let made = run(". {\n}\n", wish, &Ownership::default());
    acl::of(&Corefile::parse(&made.text).unwrap().blocks()[0]).unwrap()
}
