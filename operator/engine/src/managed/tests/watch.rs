//! A switch that is watched first: one text with the line that tells what is asked, one without it, and only then one
//! that leads elsewhere.

use jiff::Timestamp;
use tsutsumi_api::resolver_policy::{Mode, OnDelete, RolloutState};
use tsutsumi_model::Endpoint;

use super::*;
use crate::{
    managed::Missing,
    resolver::{
        Change, Checked,
        plan::{is_tapped, with_line},
        rollout::{Circumstances, enter},
        watch::is_switch,
    },
};

const LINE: &str = "dnstap tcp://10.96.8.8:8444 full";
const LEADS: &str = "forward . 10.96.7.7:53";

fn checked<'a>(policy: &'a ResolverPolicy, cluster: &Cluster) -> Checked<'a> {
    let mut checked = check(policy, &[], cluster);
    checked.managed = decide(&checked, cluster, &Data::default(), NOW);
    checked
}

fn held<'a>(policy: &'a ResolverPolicy, cluster: &Cluster, record: &Record, tap: bool) -> Checked<'a> {
    let mut checked = checked(policy, cluster);
    checked.tapped = is_tapped(&checked, record);
    checked.managed = checked.managed.held_back(Missing {
        reason: Reason::Watching,
        message: "it is being watched".into(),
    });
    checked.tap = tap
        .then(|| Endpoint::of("10.96.8.8".parse().unwrap(), 8444))
        .flatten();
    checked
}

fn change(planned: Planned) -> Change {
    match planned.plan {
        Plan::Replace(change) => *change,
        other => panic!("nothing is to be written: {other:?}"),
    }
}

/// The cluster and the record once a change was written.
fn after(cluster: &Cluster, record: &Record, change: &Change) -> (Cluster, Record) {
    let mut live = cluster.clone();
    edit(&mut live.config_maps, "coredns", |map| {
        map["data"]["Corefile"] = change.candidate.clone().into();
    });
    let record = Record {
        led: change.led.clone(),
        ..record.saving(change)
    };
    (live, record)
}

fn at() -> Circumstances<'static> {
    Circumstances {
        now: Timestamp::UNIX_EPOCH,
        generation: 1,
        image: "coredns:1",
    }
}

/// A cluster whose Corefile has the line.
fn watching(policy: &ResolverPolicy) -> (Cluster, Record) {
    let before = cluster();
    let serving = served(&before, &wanted(policy, &before, &Data::default()));
    let none = Record::default();
    let lined = plan(&held(policy, &serving, &none, true), &none);
    assert_eq!(lined.missing.as_ref().unwrap().reason, Reason::Watching);
    assert!(with_line(&lined, false));
    let lined = change(lined);
    assert!(
        lined.candidate.contains(LINE) && !lined.candidate.contains(LEADS),
        "{}",
        lined.candidate
    );
    assert!(!lined.leads_elsewhere && lined.led.is_none());
    after(&serving, &none, &lined)
}

#[test]
fn the_line_comes_first_then_it_goes_and_only_then_the_root_is_led_elsewhere() {
    let policy = managed();
    let (live, record) = watching(&policy);
    let free = plan(&checked(&policy, &live), &record);
    assert!(is_switch(&free, None, at()));
    let same = plan(&held(&policy, &live, &record, true), &record);
    assert!(matches!(same.plan, Plan::InForce { .. }), "{:?}", same.plan);

    let without = change(plan(&held(&policy, &live, &record, false), &record));
    assert!(!without.candidate.contains("dnstap") && !without.candidate.contains(LEADS));
    let (live, record) = after(&live, &record, &without);
    assert!(!is_tapped(&checked(&policy, &live), &record));

    let last = change(plan(&checked(&policy, &live), &record));
    assert!(
        last.candidate.contains(LEADS) && last.leads_elsewhere,
        "{}",
        last.candidate
    );
    let switch = |record: &Record, rollout| {
        let planned = plan(&checked(&policy, &live), record);
        is_switch(&planned, rollout, at())
    };
    assert!(switch(&record, None));
    let failed = enter(RolloutState::CanaryFailed, last.label(), "", None, at());
    assert!(
        !switch(&record, Some(&failed)),
        "what failed is not watched for again and again"
    );
    let saved = record.saving(&last);
    assert!(switch(&saved, None), "saved is not yet led there");
    let (_, written) = after(&live, &record, &last);
    assert_eq!(written.led.as_deref(), Some("Managed"));
    let back = plan(&checked(&policy, &live), &written);
    assert!(matches!(&back.plan, Plan::Replace(change) if !change.leads_elsewhere));
    assert!(!switch(&written, None), "it was led there before");
}

#[test]
fn an_audit_and_a_policy_that_goes_take_the_line_out_and_nothing_else() {
    let (live, record) = watching(&managed());
    let mut audits = managed();
    audits.spec.mode = Mode::Audit;
    let mut keeps = managed();
    keeps.spec.on_delete = OnDelete::Keep;
    keeps.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    for policy in [audits, keeps] {
        let mut checked = checked(&policy, &live);
        assert!(!checked.writes());
        checked.tapped = is_tapped(&checked, &record);
        assert!(checked.writes() && checked.only_untaps());
        let change = change(plan(&checked, &record));
        assert!(!change.candidate.contains("dnstap"), "{}", change.candidate);
        let mut lines = change.lines.iter().filter(|line| !line.contains("nsid"));
        assert!(
            lines.all(|line| line.contains("remove") && line.contains(LINE)),
            "{:?}",
            change.lines
        );
        assert!(change.candidate.contains("bufsize 1232"));
        let (bare, record) = after(&live, &record, &change);
        assert!(!is_tapped(&check(&policy, &[], &bare), &record));
    }
    let mut restores = managed();
    restores.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    let back = change(plan(&held(&restores, &live, &record, false), &record));
    assert_eq!(Some(&back.candidate), record.original.as_ref());
}
