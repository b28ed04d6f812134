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

    metrics.set_plan_changes("dyke", 3);
    metrics.add_refused_in_cluster("dyke", 1);
    metrics.forget("dyke");
    assert!(!render(&registry).unwrap().contains("dyke"));
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
