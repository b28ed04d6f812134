use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;

fn sample(control: ControlId, state: ControlState) -> ControlSample {
    let checked_at = Timestamp::from_second(1_700_000_000).unwrap();
    ControlSample {
        control,
        state,
        checked_at,
        valid_until: checked_at,
    }
}

#[test]
fn exactly_one_state_is_on_and_what_is_gone_is_gone() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    metrics.set_controls(
        "dyke",
        [
            sample(ControlId::Dns01, ControlState::Pass),
            sample(ControlId::Dns02, ControlState::Fail),
        ],
    );
    metrics.set_controls("dyke", [sample(ControlId::Dns01, ControlState::Fail)]);
    let shown = render(&registry).unwrap();
    let on: Vec<_> = shown
        .lines()
        .filter(|line| line.starts_with("tsutsumi_control_state{") && line.ends_with(" 1"))
        .collect();
    assert_eq!(
        on,
        [r#"tsutsumi_control_state{policy="dyke",control="DNS-01",state="Fail"} 1"#]
    );
    assert!(!shown.contains("DNS-02"), "{shown}");
    assert!(shown.contains(
        r#"tsutsumi_control_last_verified_timestamp_seconds{policy="dyke",control="DNS-01"} 1700000000"#
    ));

    metrics.set_conditions("dyke", &[condition("Ready", "True", "Succeeded")]);
    metrics.set_plan_changes("dyke", 3);
    metrics.add_refused_in_cluster("dyke", 1);
    metrics.forget("dyke");
    assert!(!render(&registry).unwrap().contains("dyke"));
}

fn condition(type_: &str, status: &str, reason: &str) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: String::new(),
        observed_generation: None,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    }
}

#[test]
fn a_condition_is_shown_as_it_is_and_no_longer_as_it_was() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let ready = condition("Ready", "True", "Succeeded");
    metrics.set_conditions("canal", std::slice::from_ref(&ready));
    metrics.set_conditions(
        "dyke",
        &[condition("Programmed", "True", "Loaded"), ready.clone()],
    );
    metrics.set_conditions(
        "dyke",
        &[condition("Programmed", "False", "OverwrittenBy"), ready],
    );
    let shown = |registry| {
        let text = render(registry).unwrap();
        let mut lines: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("tsutsumi_policy_condition{"))
            .map(ToOwned::to_owned)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(
        shown(&registry),
        [
            r#"tsutsumi_policy_condition{policy="canal",type="Ready",status="True",reason="Succeeded"} 1"#,
            r#"tsutsumi_policy_condition{policy="dyke",type="Programmed",status="False",reason="OverwrittenBy"} 1"#,
            r#"tsutsumi_policy_condition{policy="dyke",type="Ready",status="True",reason="Succeeded"} 1"#,
        ]
    );
    metrics.forget("dyke");
    assert_eq!(shown(&registry).len(), 1, "only what is forgotten goes");
}

#[test]
fn a_reconcile_that_is_dropped_counts_as_cancelled() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    drop(metrics.reconciling());
    metrics.reconciling().finish("ok");
    let shown = render(&registry).unwrap();
    for line in [
        r#"tsutsumi_reconciles_total{result="cancelled"} 1"#,
        r#"tsutsumi_reconciles_total{result="ok"} 1"#,
        "tsutsumi_reconciles_in_flight 0",
        "tsutsumi_reconcile_duration_seconds_count 2",
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "{line} is missing in {shown}"
        );
    }
}

/// The alerts and dashboards of the chart are held to that page.
#[test]
fn the_reference_page_has_every_name_as_it_is_rendered() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    // A family without a series is not rendered.
    metrics.set_controls("dyke", [sample(ControlId::Dns01, ControlState::Pass)]);
    metrics.set_conditions("dyke", &[condition("Ready", "True", "Succeeded")]);
    metrics.set_plan_changes("dyke", 3);
    metrics.add_refused_in_cluster("dyke", 1);
    metrics.set_certificate("tls", Timestamp::UNIX_EPOCH);
    metrics.observe_call("patch", "ConfigMap".into(), CallOutcome::Ok);
    metrics.reconciling().finish("ok");
    let shown = render(&registry).unwrap();
    let rendered: BTreeSet<_> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| match kind {
            "counter" => (format!("{name}_total"), kind),
            "info" => (format!("{name}_info"), kind),
            _ => (name.to_owned(), kind),
        })
        .collect();
    let page = include_str!("../../../../docs/reference/metrics.md");
    let listed: BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter(|(name, _)| name.starts_with("tsutsumi_"))
        .map(|(name, rest)| (name.to_owned(), rest.split(' ').next().unwrap_or_default()))
        .collect();
    assert!(rendered.len() > 10, "{rendered:?}");
    assert_eq!(listed, rendered, "docs/reference/metrics.md");
}
