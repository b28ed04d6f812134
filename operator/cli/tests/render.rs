//! `kubectl tsutsumi render`, as a pipeline runs it.

#![allow(missing_docs, reason = "tests")]

use std::{
    path::Path,
    process::{Command, Output},
};

fn render(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kubectl-tsutsumi"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/render"))
        .arg("render")
        .args(arguments)
        .output()
        .expect("it starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it prints text")
}

#[test]
fn objects_are_printed_and_each_limit_says_whose_it_is() {
    let output = render(&["--proxies=2", "town.yaml", "policies.yaml"]);
    let (objects, remarks) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{remarks}");
    let read: Vec<serde_json::Value> = serde_saphyr::from_multiple(objects).unwrap();
    let kinds: Vec<&str> = read
        .iter()
        .map(|object| object["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["ClientTrafficPolicy", "BackendTrafficPolicy"]);
    assert_eq!(read[0]["spec"]["connection"]["connectionLimit"]["value"], 100);
    let share = &read[1]["spec"]["rateLimit"]["local"]["rules"][0]["limit"];
    assert_eq!(share["requests"], 25);
    let lines: Vec<&str> = remarks.lines().collect();
    assert_eq!(
        lines,
        [
            "listener https of Gateway town/public: timeouts.requestHeaders 10s by IngressProtectionPolicy town/web",
            "listener https of Gateway town/public: limits.connections 100 by ClusterIngressProtectionPolicy baseline, whose \
             floor holds back IngressProtectionPolicy town/web with 1",
            "listener https of Gateway town/public: limits.headerBytes 32768 bytes by IngressProtectionPolicy town/web; not \
             set: Envoy Gateway 1.9 has no field for it, and Envoy itself takes at most 60 KiB",
            "HTTPRoute town/web: perClient.requests 50 per second by IngressProtectionPolicy town/web",
        ]
    );
    let once_more = render(&["--proxies=2", "policies.yaml", "town.yaml"]);
    assert_eq!(
        text(&once_more.stdout),
        objects,
        "the order of the files changes nothing"
    );
}

#[test]
fn what_is_wrong_is_named_and_nothing_is_printed() {
    for (arguments, said) in [
        (&["town.yaml"][..], "no file holds an IngressProtectionPolicy"),
        (&["absent.yaml"], "read absent.yaml: No such file"),
        (
            &["malformed.yaml"],
            "read malformed.yaml: IngressProtectionPolicy web cannot be read: spec.timeout: unknown field `timeout`",
        ),
        (&["--proxies=0", "policies.yaml"], "--proxies"),
    ] {
        let output = render(arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn what_cannot_be_said_fails_the_pipeline() {
    let output = render(&["town.yaml", "policies.yaml", "taken.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let remarks = text(&output.stderr);
    assert!(
        remarks.contains("HTTPRoute town/web: nothing can be said: policy theirs"),
        "{remarks}"
    );
    assert!(
        text(&output.stdout).contains("ClientTrafficPolicy"),
        "the rest is said"
    );
}
