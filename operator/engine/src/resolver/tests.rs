//! The pure pipeline from a cluster and a policy to plan and status.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    serde_json::json,
};
use tsutsumi_api::{
    ResolverPolicy,
    conditions::{ConditionType, Reason},
    resolver_policy::{Rollout, RolloutState},
};
use tsutsumi_model::{ControlId, ControlState, Vantage, Verdict};

use super::{
    Plan, Planned, Record, check, plan,
    rollout::{Circumstances, enter},
    status::{Inputs, Verified, status},
};
use crate::{
    cluster::{Cluster, OutsideZone},
    testing::{edit, kubeadm},
};

fn policy(name: &str, age: i64, spec: &serde_json::Value) -> ResolverPolicy {
    let mut policy: ResolverPolicy = serde_json::from_value(json!({
        "apiVersion": "tsutsumi.dev/v1alpha1",
        "kind": "ResolverPolicy",
        "metadata": { "name": name, "generation": 1 },
        "spec": spec,
    }))
    .unwrap();
    policy.metadata.creation_timestamp = Some(Time(Timestamp::UNIX_EPOCH - SignedDuration::from_hours(age)));
    policy
}

fn enforcing() -> ResolverPolicy {
    policy(
        "town",
        1,
        &json!({
            "mode": "Enforce",
            "onDelete": "Restore",
            "clients": { "include": ["Cluster", "Private"] },
            "udp": { "maxMessageBytes": 1232 },
            "anyQueries": "Empty",
            "recursion": { "sourcePorts": "Random" },
        }),
    )
}

fn planned(policy: &ResolverPolicy, cluster: &Cluster, record: &Record) -> Planned {
    plan(&check(policy, &[], cluster), record)
}

/// The cluster after the change was written, with the record that goes with it.
fn written(cluster: &Cluster, planned: &Planned) -> (Cluster, Record) {
    let Plan::Replace(change) = &planned.plan else {
        panic!("nothing to write: {:?}", planned.plan)
    };
    let mut cluster = cluster.clone();
    edit(&mut cluster.config_maps, &change.slot.config_map, |map| {
        map["data"][&change.slot.key] = change.candidate.clone().into();
    });
    (cluster, Record::default().saving(change))
}

fn reason(planned: &Planned) -> Reason {
    match &planned.plan {
        Plan::Blocked { reason, .. } => *reason,
        other => panic!("not blocked: {other:?}"),
    }
}

#[test]
fn a_written_plan_leaves_nothing_to_do() {
    let (policy, before) = (enforcing(), kubeadm());
    let first = planned(&policy, &before, &Record::default());
    let (after, record) = written(&before, &first);
    let Plan::Replace(change) = first.plan else {
        panic!("nothing is to be written: {:?}", first.plan)
    };
    match planned(&policy, &after, &record).plan {
        Plan::InForce { identity, .. } => assert_eq!(identity, change.identity),
        other => panic!("a second plan wants {other:?}"),
    }
    assert!(change.identity.is_some() && !change.lines.is_empty() && !change.present_is_ours);
}

#[test]
fn a_text_that_others_replaced_comes_back_with_an_identity_that_no_pod_shows() {
    let (policy, before) = (enforcing(), kubeadm());
    let first = planned(&policy, &before, &Record::default());
    let (_, record) = written(&before, &first);
    let Plan::Replace(old) = first.plan else {
        panic!("nothing is to be written: {:?}", first.plan)
    };
    let at = Circumstances {
        now: Timestamp::UNIX_EPOCH,
        generation: 1,
        image: "coredns:1",
    };
    let settled = enter(RolloutState::Settled, old.label(), "", None, at);
    // The text from before the policy stands there again, and nobody can tell which pods have loaded it.
    let Plan::Replace(again) = planned(&policy, &before, &record).plan else {
        panic!("a revert is answered")
    };
    let record = record.beginning(&again, Some(&settled));
    let Plan::Replace(new) = planned(&policy, &before, &record).plan else {
        panic!("a revert is answered")
    };
    assert_ne!(new.identity, old.identity);
    let saved = enter(RolloutState::Saved, again.label(), "", Some(&settled), at);
    let record = record.beginning(&new, Some(&saved));
    assert_eq!(
        planned(&policy, &before, &record).plan,
        Plan::Replace(new.clone()),
        "and that one stays"
    );
    let (after, _) = written(
        &before,
        &Planned {
            plan: Plan::Replace(new.clone()),
            warnings: vec![],
            missing: None,
        },
    );
    assert!(
        matches!(planned(&policy, &after, &record).plan, Plan::InForce { identity, .. } if identity == new.identity)
    );
}

#[test]
fn a_new_value_for_what_is_ours_is_still_planned_after_it_was_saved() {
    let (mut policy, before) = (enforcing(), kubeadm());
    let (after, record) = written(&before, &planned(&policy, &before, &Record::default()));
    policy.spec.udp = Some(tsutsumi_api::resolver_policy::Udp {
        max_message_bytes: 1280,
    });
    let first = planned(&policy, &after, &record);
    let Plan::Replace(change) = &first.plan else {
        panic!("a larger size is a change")
    };
    assert!(change.candidate.contains("bufsize 1280") && !change.candidate.contains("1232"));
    let saved = record.saving(change);
    assert_eq!(
        planned(&policy, &after, &saved).plan,
        first.plan,
        "saved is not yet written"
    );
    assert_eq!(
        planned(&policy, &after, &saved.saving(change)).plan,
        first.plan,
        "nor is it when it was saved twice"
    );
    let mut live = after.clone();
    edit(&mut live.config_maps, "coredns", |map| {
        map["data"]["Corefile"] = change.candidate.clone().into();
    });
    assert!(matches!(
        planned(&policy, &live, &saved).plan,
        Plan::InForce { .. }
    ));
    let edited = change
        .candidate
        .replacen("    errors\n", "    errors\n    log\n", 1);
    edit(&mut live.config_maps, "coredns", |map| {
        map["data"]["Corefile"] = edited.clone().into();
    });
    policy.spec.udp = Some(tsutsumi_api::resolver_policy::Udp {
        max_message_bytes: 1400,
    });
    let Plan::Replace(third) = planned(&policy, &live, &saved).plan else {
        panic!("ours also after a foreign edit")
    };
    assert!(third.candidate.contains("bufsize 1400") && !third.candidate.contains("1280"));
}

#[test]
fn restoring_gives_back_every_byte() {
    let (mut policy, before) = (enforcing(), kubeadm());
    let (after, record) = written(&before, &planned(&policy, &before, &Record::default()));
    policy.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    let Plan::Replace(back) = planned(&policy, &after, &record).plan else {
        panic!("there is a way back")
    };
    assert_eq!(Some(&back.candidate), record.original.as_ref());
    assert_eq!(back.identity, None);
    let Plan::Replace(again) = planned(&policy, &after, &record.saving(&back)).plan else {
        panic!("saved is not yet written")
    };
    assert_eq!(
        again.candidate, back.candidate,
        "the way back is the same after it was saved"
    );
}

#[test]
fn a_list_that_misses_a_pod_is_not_written() {
    let policy = policy(
        "town",
        1,
        &json!({ "mode": "Enforce", "clients": { "cidrs": ["203.0.113.0/24"] } }),
    );
    let planned = planned(&policy, &kubeadm(), &Record::default());
    assert_eq!(reason(&planned), Reason::LockOut);
    let Plan::Blocked { message, .. } = planned.plan else {
        panic!("not blocked: {:?}", planned.plan)
    };
    assert!(
        message.contains("clients.cidrs") && message.contains("Cluster"),
        "{message}"
    );
}

#[test]
fn the_oldest_policy_holds_then_the_first_by_name() {
    let cluster = kubeadm();
    let spec = json!({ "mode": "Audit", "udp": { "maxMessageBytes": 1232 } });
    let (old, young, twin) = (
        policy("z", 9, &spec),
        policy("a", 1, &spec),
        policy("b", 1, &spec),
    );
    let blocked = |mine, others: &[&ResolverPolicy]| check(mine, others, &cluster).conflict;
    assert_eq!(blocked(&young, &[&twin, &old]).as_deref(), Some("z"));
    assert_eq!(blocked(&twin, &[&young]).as_deref(), Some("a"));
    assert_eq!(blocked(&old, &[&young, &twin]), None);
}

#[test]
fn a_corefile_that_cannot_be_read_is_a_finding() {
    let mut cluster = kubeadm();
    edit(&mut cluster.config_maps, "coredns", |map| {
        map["data"]["Corefile"] = ".:53 {\n    errors\n".into();
    });
    let planned = planned(&enforcing(), &cluster, &Record::default());
    assert_eq!(reason(&planned), Reason::CorefileInvalid);
}

fn verdict(control: ControlId, state: ControlState) -> (Verdict, String) {
    let text = String::new;
    let verdict = Verdict {
        control,
        state,
        expected: text(),
        observed: text(),
        message: text(),
        vantages: vec![Vantage::Inside],
    };
    (verdict, text())
}

fn verified(state: ControlState, of_this_change: bool) -> Verified {
    let checked_at = Timestamp::UNIX_EPOCH;
    Verified {
        checked_at,
        valid_until: checked_at + SignedDuration::from_mins(15),
        verdicts: vec![
            verdict(ControlId::Dns01, ControlState::Pass),
            verdict(ControlId::Dns02, state),
        ],
        version: Some("1.14.7".into()),
        of_this_change,
    }
}

fn settled(planned: &Planned) -> Rollout {
    let Plan::InForce { identity, .. } = &planned.plan else {
        panic!("not in force")
    };
    let at = Circumstances {
        now: Timestamp::UNIX_EPOCH,
        generation: 1,
        image: "coredns:1",
    };
    enter(RolloutState::Settled, identity.as_deref().unwrap(), "", None, at)
}

/// The conditions of the enforcing policy once its text is in force.
fn conditions(verified: Option<&Verified>, minutes: i64) -> Vec<Condition> {
    let (policy, before) = (enforcing(), kubeadm());
    let (after, record) = written(&before, &planned(&policy, &before, &Record::default()));
    let checked = check(&policy, &[], &after);
    let planned = plan(&checked, &record);
    let rollout = settled(&planned);
    let now = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
    status(&Inputs {
        checked: &checked,
        planned: &planned,
        rollout: Some(&rollout),
        verified,
        warnings: vec![],
        now,
    })
    .conditions
}

fn said(conditions: &[Condition], type_: ConditionType) -> (&str, &str) {
    let condition = conditions
        .iter()
        .find(|condition| condition.type_ == type_.as_str())
        .unwrap();
    (&condition.status, &condition.reason)
}

#[test]
fn ready_needs_results_that_pass_are_fresh_and_speak_of_this_change() {
    use ConditionType::{Ready, Verified};
    let good = verified(ControlState::Pass, true);
    assert_eq!(said(&conditions(Some(&good), 1), Ready), ("True", "Succeeded"));
    assert_eq!(said(&conditions(Some(&good), 16), Ready), ("False", "Stale"));
    assert_eq!(said(&conditions(None, 1), Verified), ("Unknown", "Stale"));
    let earlier = verified(ControlState::Pass, false);
    assert_eq!(
        said(&conditions(Some(&earlier), 1), Verified),
        ("Unknown", "Stale")
    );
    let failed = verified(ControlState::Fail, true);
    assert_eq!(
        said(&conditions(Some(&failed), 1), Ready),
        ("False", "ControlsFailed")
    );
    let unknown = verified(ControlState::Indeterminate, true);
    assert_eq!(
        said(&conditions(Some(&unknown), 1), Ready),
        ("False", "Undetermined")
    );
    let waived = verified(ControlState::NotApplicable, true);
    assert_eq!(said(&conditions(Some(&waived), 1), Ready), ("True", "Succeeded"));
}

#[test]
fn audit_is_ready_when_evaluated_and_never_programmed() {
    let mut policy = enforcing();
    policy.spec.mode = tsutsumi_api::resolver_policy::Mode::Audit;
    let cluster = kubeadm();
    let checked = check(&policy, &[], &cluster);
    let planned = plan(&checked, &Record::default());
    let failed = verified(ControlState::Fail, true);
    let now = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(1);
    let inputs = Inputs {
        checked: &checked,
        planned: &planned,
        rollout: None,
        verified: Some(&failed),
        warnings: vec![],
        now,
    };
    let status = status(&inputs);
    assert_eq!(
        said(&status.conditions, ConditionType::Programmed),
        ("False", "AuditOnly")
    );
    assert_eq!(
        said(&status.conditions, ConditionType::Ready),
        ("True", "Succeeded")
    );
    assert!(
        status.plan.iter().any(|line| line.contains("acl")),
        "{:?}",
        status.plan
    );
}

#[test]
fn the_same_inputs_say_the_same_later() {
    let (mut policy, cluster) = (enforcing(), kubeadm());
    let good = verified(ControlState::Pass, true);
    let at = |minutes| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
    let say = |policy: &ResolverPolicy, now| {
        let checked = check(policy, &[], &cluster);
        let planned = plan(&checked, &Record::default());
        status(&Inputs {
            checked: &checked,
            planned: &planned,
            rollout: None,
            verified: Some(&good),
            warnings: vec![],
            now,
        })
    };
    let first = say(&policy, at(1));
    policy.status = Some(first.clone());
    assert_eq!(say(&policy, at(2)), first);
}

const ZONE_SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: tsutsumi-probe-zone, namespace: dyke}
spec:
  clusterIPs: ['fd00:10:96::20', 10.96.0.20]
  ports: [{name: dns, port: 53, protocol: UDP}]
";

#[test]
fn the_probe_zone_is_led_to_where_its_service_is_and_an_unknown_address_changes_nothing() {
    let candidate = |policy: &ResolverPolicy, cluster: &Cluster| match planned(
        policy,
        cluster,
        &Record::default(),
    )
    .plan
    {
        Plan::Replace(change) => change.candidate,
        other => panic!("nothing is to be written: {other:?}"),
    };
    let mut cluster = crate::testing::kubeadm_with(ZONE_SERVICE);
    let mut quiet = enforcing();
    quiet.spec.recursion = None;
    cluster.installed.namespace = "dyke".to_owned();
    assert!(
        !candidate(&enforcing(), &cluster).contains("probe."),
        "no zone runs"
    );

    cluster.installed.probe_zone = Some("probe.tsutsumi.test".parse().unwrap());
    let text = candidate(&enforcing(), &cluster);
    assert!(
        text.contains("forward probe.tsutsumi.test 10.96.0.20:53 {"),
        "{text}"
    );
    assert!(!candidate(&quiet, &cluster).contains("probe."), "nobody asked");
    let mut both = cluster.clone();
    both.installed.outside_zone = Some(OutsideZone {
        name: "probe-outside.tsutsumi.test".parse().unwrap(),
        address: "198.51.100.2".parse().unwrap(),
    });
    let text = candidate(&enforcing(), &both);
    for lead in [
        "probe.tsutsumi.test 10.96.0.20:53",
        "probe-outside.tsutsumi.test 198.51.100.2:53",
    ] {
        assert!(text.contains(&format!("forward {lead} {{")), "{text}");
    }

    let first = planned(&enforcing(), &cluster, &Record::default());
    let (mut after, record) = written(&cluster, &first);
    after.services = kubeadm().services;
    let later = planned(&enforcing(), &after, &record).plan;
    assert!(matches!(later, Plan::InForce { .. }), "{later:?}");
}
