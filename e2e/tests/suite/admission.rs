//! What the API server refuses, with a message that says what to write, and what it takes. Everything is a dry run.

use anyhow::{Context, Result, bail, ensure};
use kube::{
    Api,
    api::{Patch, PatchParams, ValidationDirective},
    core::DynamicObject,
};
use serde_json::{Value, json};
use tsutsumi_e2e::{
    policy,
    scenario::{self, From, Scenario},
};

/// Applies the standard policy with `value` at `pointer` below `spec`, or without that field where it is null.
async fn applied(s: &Scenario, pointer: &str, value: Value) -> Result<kube::Result<DynamicObject>> {
    let mut policy = policy::enforcing("admission");
    let (parent, field) = pointer
        .rsplit_once('/')
        .context("a pointer begins with a slash")?;
    let parent = policy["spec"]
        .pointer_mut(parent)
        .with_context(|| format!("there is nothing at {parent}"))?;
    let fields = parent.as_object_mut().context("fields are set in objects")?;
    if value.is_null() {
        fields.remove(field);
    } else {
        fields.insert(field.to_owned(), value);
    }
    Ok(dry_run(&s.cluster.loose_policies(), &policy).await)
}

async fn dry_run(policies: &Api<DynamicObject>, policy: &Value) -> kube::Result<DynamicObject> {
    let mut params = PatchParams::apply("e2e").dry_run();
    params.field_validation = Some(ValidationDirective::Strict);
    policies
        .patch(
            policy["metadata"]["name"].as_str().unwrap_or_default(),
            &params,
            &Patch::Apply(policy),
        )
        .await
}

/// Fails unless each value is refused with a message that holds every part.
fn rejects(cases: &[(&str, Value, &[&str])]) -> Result<()> {
    scenario::run(From::Schema, async |s| {
        for (pointer, value, parts) in cases {
            let refused = applied(s, pointer, value.clone()).await?;
            says(&format!("{pointer} = {value}"), refused, parts)?;
        }
        Ok(())
    })
}

fn says(case: &str, outcome: kube::Result<DynamicObject>, parts: &[&str]) -> Result<()> {
    let Err(kube::Error::Api(refusal)) = outcome else {
        bail!("{case} was not refused: {outcome:?}")
    };
    for part in parts {
        ensure!(
            refusal.message.contains(part),
            "{case}: `{part}` is missing in: {}",
            refusal.message
        );
    }
    Ok(())
}

/// Fails unless each value is taken.
fn accepts(cases: &[(&str, Value)]) -> Result<()> {
    scenario::run(From::Schema, async |s| {
        for (pointer, value) in cases {
            applied(s, pointer, value.clone())
                .await?
                .with_context(|| format!("{pointer} = {value}"))?;
        }
        Ok(())
    })
}

#[test]
fn rejects_a_mode_that_is_missing_or_unknown() -> Result<()> {
    rejects(&[
        ("/mode", Value::Null, &["spec.mode", "Required"]),
        (
            "/mode",
            json!("enforce"),
            &["spec.mode", "supported values", "Audit", "Enforce"],
        ),
    ])
}

#[test]
fn rejects_a_policy_that_manages_nothing() -> Result<()> {
    scenario::run(From::Schema, async |s| {
        let mut policy = policy::enforcing("admission");
        policy["spec"] = json!({"mode": "Audit"});
        let outcome = dry_run(&s.cluster.loose_policies(), &policy).await;
        says(
            "an empty policy",
            outcome,
            &["manages nothing", "`clients`, `udp` and `recursion`"],
        )
    })
}

#[test]
fn rejects_closing_nothing_what_is_exempt_and_what_nodes_need() -> Result<()> {
    let close = |close: Value| json!({"exemptNamespaces": ["mail"], "close": close});
    rejects(&[
        (
            "/waysAround",
            close(json!({"action": "Enforce"})),
            &["waysAround.close.namespaces", "write at least one"],
        ),
        (
            "/waysAround",
            close(json!({"action": "Enforce", "namespaces": ["kube-system"]})),
            &["waysAround.close.namespaces", "leave out kube-system"],
        ),
        (
            "/waysAround",
            close(json!({"namespaces": ["town", "mail"]})),
            &["waysAround.close.namespaces", "closed or exempt"],
        ),
        (
            "/waysAround",
            close(json!({"action": "Close", "namespaces": ["town"]})),
            &["waysAround.close.action", "supported values", "Enforce", "Report"],
        ),
        (
            "/waysAround",
            close(json!({"mayLoseDns": ["town/web"]})),
            &["waysAround.close.mayLoseDns[0]", "should match"],
        ),
        (
            "/waysAround",
            close(json!({"exemptPods": [{"label": "app", "value": "web"}]})),
            &["waysAround.close.exemptPods[0].reason", "Required"],
        ),
    ])
}

#[test]
fn rejects_any_queries_without_clients() -> Result<()> {
    rejects(&[(
        "/clients",
        Value::Null,
        &["spec.anyQueries", "write `clients` too"],
    )])
}

#[test]
fn rejects_a_name_from_which_no_other_can_be_made() -> Result<()> {
    scenario::run(From::Schema, async |s| {
        let policies = s.cluster.loose_policies();
        let longest = "n".repeat(40);
        dry_run(&policies, &policy::enforcing(&longest))
            .await
            .context("40 characters")?;
        let outcome = dry_run(&policies, &policy::enforcing(&format!("{longest}n"))).await;
        says(
            "41 characters",
            outcome,
            &["metadata.name", "at most 40 characters"],
        )
    })
}

#[test]
fn rejects_clients_that_are_nobody_or_no_networks() -> Result<()> {
    let too_many: Vec<_> = (0..257)
        .map(|n| format!("10.{}.{}.0/24", n / 256, n % 256))
        .collect();
    rejects(&[
        (
            "/clients",
            json!({}),
            &[
                "clients",
                "at least one group in `include`",
                "would refuse everybody",
            ],
        ),
        (
            "/clients",
            json!({"include": [], "cidrs": []}),
            &["would refuse everybody"],
        ),
        (
            "/clients/include",
            json!(["Everybody"]),
            &["clients.include[0]", "supported values", "Cluster", "Private"],
        ),
        (
            "/clients/include",
            json!(["Cluster", "Cluster"]),
            &["clients.include", "uplicate"],
        ),
        (
            "/clients/cidrs",
            json!(["203.0.113.7"]),
            &["clients.cidrs[0]", "should match"],
        ),
        (
            "/clients/cidrs",
            json!(["town.example/24"]),
            &["clients.cidrs[0]", "should match"],
        ),
        (
            "/clients/cidrs",
            json!(["10.0.0.0/8", "10.0.0.0/8"]),
            &["clients.cidrs", "uplicate"],
        ),
        ("/clients/cidrs", json!(too_many), &["clients.cidrs", "256"]),
        (
            "/clients/others",
            json!("Ignore"),
            &["clients.others", "supported values", "Drop", "Refuse"],
        ),
        (
            "/clients/reason",
            json!("x".repeat(257)),
            &["clients.reason", "256"],
        ),
    ])
}

#[test]
fn rejects_sizes_that_no_server_can_keep() -> Result<()> {
    rejects(&[
        (
            "/udp/maxMessageBytes",
            json!(511),
            &["udp.maxMessageBytes", "greater than or equal to 512"],
        ),
        (
            "/udp/maxMessageBytes",
            json!(4097),
            &["udp.maxMessageBytes", "less than or equal to 4096"],
        ),
        (
            "/udp/maxMessageBytes",
            json!("1232"),
            &["udp.maxMessageBytes", "numeric"],
        ),
        ("/udp", json!({}), &["udp.maxMessageBytes", "Required"]),
    ])
}

#[test]
fn rejects_intervals_that_are_no_time_or_no_good() -> Result<()> {
    let bounds = "write at least 30s and at most 1d";
    rejects(&[
        (
            "/verification/interval",
            json!("29s"),
            &["verification.interval", bounds],
        ),
        (
            "/verification/interval",
            json!("2d"),
            &["verification.interval", bounds],
        ),
        (
            "/verification/interval",
            json!("25h"),
            &["verification.interval", bounds],
        ),
        (
            "/verification/interval",
            json!("86401s"),
            &["verification.interval", bounds],
        ),
        (
            "/verification/interval",
            json!("often"),
            &["verification.interval", "should match"],
        ),
        (
            "/verification/interval",
            json!("1m30s"),
            &["verification.interval", "should match"],
        ),
        (
            "/verification/interval",
            json!("0s"),
            &["verification.interval", "should match"],
        ),
        (
            "/verification/vantages",
            json!([]),
            &["verification.vantages", "at least 1"],
        ),
        (
            "/verification/vantages",
            json!(["above"]),
            &["verification.vantages[0]", "supported values", "inside"],
        ),
        (
            "/verification/vantages",
            json!(["inside", "inside"]),
            &["verification.vantages", "uplicate"],
        ),
    ])
}

#[test]
fn rejects_targets_that_are_no_workloads() -> Result<()> {
    let target =
        |kind: &str, namespace: &str, name: &str| json!({"kind": kind, "namespace": namespace, "name": name});
    rejects(&[
        (
            "/targetRef",
            target("StatefulSet", "kube-system", "coredns"),
            &["targetRef.kind", "DaemonSet", "Deployment"],
        ),
        (
            "/targetRef",
            target("Deployment", "Kube-System", "coredns"),
            &["targetRef.namespace", "should match"],
        ),
        (
            "/targetRef",
            target("Deployment", &"n".repeat(64), "coredns"),
            &["targetRef.namespace", "63"],
        ),
        (
            "/targetRef",
            target("Deployment", "kube-system", ""),
            &["targetRef.name", "at least 1"],
        ),
        (
            "/targetRef",
            target("Deployment", "kube-system", &"n".repeat(254)),
            &["targetRef.name", "253"],
        ),
        (
            "/targetRef",
            json!({"kind": "Deployment", "name": "coredns"}),
            &["targetRef.namespace", "Required"],
        ),
    ])
}

#[test]
fn rejects_words_that_the_other_fields_do_not_know() -> Result<()> {
    rejects(&[
        (
            "/onDelete",
            json!("Undo"),
            &["spec.onDelete", "supported values", "Keep", "Restore"],
        ),
        (
            "/anyQueries",
            json!("Refuse"),
            &["spec.anyQueries", "supported values", "Empty"],
        ),
        ("/recursion", json!({}), &["recursion.sourcePorts", "Required"]),
        (
            "/recursion/sourcePorts",
            json!("Fixed"),
            &["recursion.sourcePorts", "supported values", "Random"],
        ),
    ])
}

#[test]
fn rejects_a_recursion_whose_parts_do_not_fit() -> Result<()> {
    let with = |more: Value| {
        let mut recursion = json!({"sourcePorts": "Random"});
        if let (Some(recursion), Value::Object(more)) = (recursion.as_object_mut(), more) {
            recursion.extend(more);
        }
        recursion
    };
    rejects(&[
        (
            "/recursion",
            with(json!({"via": "Upstreams"})),
            &["recursion.upstreams", "write at least one address"],
        ),
        (
            "/recursion",
            with(json!({"upstreams": ["192.0.2.53"]})),
            &["recursion.upstreams", "write `via: Upstreams` beside them"],
        ),
        (
            "/recursion",
            with(json!({"via": "Managed", "upstreams": ["192.0.2.53"]})),
            &["recursion.upstreams", "nobody else asks them"],
        ),
        (
            "/recursion",
            with(json!({"dnssec": "Off"})),
            &["recursion.dnssec", "write `via` beside it"],
        ),
        (
            "/recursion",
            with(json!({"via": "Upstreams", "upstreams": ["192.0.2.53"], "roots": {}})),
            &["recursion.roots", "write `via: Managed` beside it"],
        ),
        (
            "/recursion",
            with(json!({"hop": "Tls"})),
            &["recursion.hop", "write `via: Managed` beside it"],
        ),
        (
            "/recursion",
            with(json!({"via": "Upstreams", "upstreams": ["resolver.example"]})),
            &["recursion.upstreams[0]", "should match"],
        ),
        (
            "/recursion",
            with(json!({"via": "Elsewhere"})),
            &["recursion.via", "supported values", "Managed", "Upstreams"],
        ),
        (
            "/recursion",
            with(json!({"via": "Managed", "roots": {"hintsConfigMap": "No Name"}})),
            &["recursion.roots.hintsConfigMap", "should match"],
        ),
        (
            "/recursion",
            with(json!({"via": "Managed", "compare": {"watch": "16m"}})),
            &["recursion.compare.watch", "at most 15m"],
        ),
        (
            "/recursion",
            with(json!({"via": "Managed", "compare": {"watch": "1h"}})),
            &["recursion.compare.watch", "should match"],
        ),
    ])?;
    accepts(&[
        (
            "/recursion",
            with(json!({"via": "Managed", "dnssec": "WhenSigned"})),
        ),
        ("/recursion", with(json!({"via": "Managed", "hop": "Tls"}))),
        (
            "/recursion",
            with(json!({"via": "Managed", "compare": {"watch": "0s"}})),
        ),
        (
            "/recursion",
            with(json!({"via": "Upstreams", "upstreams": ["192.0.2.53:5353", "2001:db8::53"]})),
        ),
        (
            "/recursion",
            with(json!({"via": "Upstreams", "upstreams": ["192.0.2.53"], "dnssec": "Required"})),
        ),
    ])?;
    scenario::run(From::Schema, async |s| {
        let mut policy = policy::enforcing("admission.dns");
        policy["spec"]["recursion"] = with(json!({"via": "Managed"}));
        let outcome = dry_run(&s.cluster.loose_policies(), &policy).await;
        says(
            "a name with dots",
            outcome,
            &["metadata.name", "leave out the dots"],
        )
    })
}

#[test]
fn rejects_fields_that_this_release_does_not_know() -> Result<()> {
    rejects(&[
        (
            "/flood",
            json!({"response": "Block"}),
            &["flood", "field not declared in schema"],
        ),
        (
            "/clients/ranges",
            json!(["10.0.0.0/8"]),
            &["ranges", "field not declared in schema"],
        ),
        (
            "/udp/bytes",
            json!(1232),
            &["bytes", "field not declared in schema"],
        ),
        (
            "/verification/every",
            json!("5m"),
            &["every", "field not declared in schema"],
        ),
    ])
}

#[test]
fn accepts_the_ends_of_every_range() -> Result<()> {
    let many: Vec<_> = (0..256).map(|n| format!("10.0.{n}.0/24")).collect();
    accepts(&[
        ("/mode", json!("Audit")),
        ("/onDelete", json!("Restore")),
        ("/clients/cidrs", json!(many)),
        ("/clients/cidrs", json!(["2001:db8::/32", "203.0.113.0/24"])),
        ("/clients", json!({"cidrs": ["10.0.0.0/8"]})),
        ("/clients/others", json!("Drop")),
        ("/clients/reason", json!("庁内のみ".repeat(64))),
        ("/udp/maxMessageBytes", json!(512)),
        ("/udp/maxMessageBytes", json!(4096)),
        ("/verification/interval", json!("30s")),
        ("/verification/interval", json!("24h")),
        ("/verification/interval", json!("1d")),
        ("/verification/vantages", json!(["inside"])),
        (
            "/targetRef",
            json!({"kind": "DaemonSet", "namespace": "kube-system", "name": "coredns"}),
        ),
    ])
}
