//! A round from its plan to its verdicts.

use std::collections::BTreeSet;

use tsutsumi_api::ResolverPolicySpec;
use tsutsumi_model::{
    Ask, ControlId, ControlState, DnsQuestion, MetricName, Observation, QueryClass, QueryType, Rcode, Saw,
    Transport, Vantage,
};

use super::{
    fixture::{behave, dns, endpoint, heard_of, input, marks},
    *,
};

const NONCE: &str = "n0nce";

fn questions(steps: &[Step]) -> impl Iterator<Item = (&Purpose, &DnsQuestion)> {
    steps.iter().filter_map(|(purpose, probe)| match &probe.ask {
        Ask::Dns(question) => Some((purpose, question)),
        Ask::Metrics(_) | Ask::Root(_) | Ask::Series(_) => None,
    })
}

fn plan_round(input: &RoundInput, nonce: &str) -> Result<Round, tsutsumi_model::NameError> {
    super::plan_round(input, nonce, Some(&marks()))
}

/// Each verdict with its observations, where the probe zone heard of everything.
fn judge_round(
    input: &RoundInput,
    round: &Round,
    seen: Vec<Observation>,
) -> Vec<(tsutsumi_model::Verdict, Vec<Observation>)> {
    super::judge_round(input, round, seen, heard_of(round))
        .into_iter()
        .map(|judged| (judged.verdict, judged.behind.observations))
        .collect()
}

/// The controls that came to something else.
fn except(
    state: ControlState,
    input: &RoundInput,
    round: &Round,
    seen: Vec<Observation>,
) -> Vec<(ControlId, ControlState)> {
    let verdicts = judge_round(input, round, seen).into_iter();
    verdicts
        .map(|(verdict, _)| (verdict.control, verdict.state))
        .filter(|(_, other)| *other != state)
        .collect()
}

/// What a control came to.
fn of(
    id: ControlId,
    verdicts: Vec<(tsutsumi_model::Verdict, Vec<Observation>)>,
) -> (tsutsumi_model::Verdict, Vec<Observation>) {
    verdicts
        .into_iter()
        .find(|(verdict, _)| verdict.control == id)
        .unwrap()
}

#[test]
fn a_cluster_that_behaves_passes_every_control() {
    for pods in [1, 2, MAX_PODS] {
        let input = input(pods);
        let round = plan_round(&input, NONCE).unwrap();
        for (verdict, seen) in judge_round(&input, &round, behave(&round, "1.14.7")) {
            assert_eq!(verdict.state, ControlState::Pass, "{verdict:?}");
            assert!(!seen.is_empty());
        }
    }
}

#[test]
fn no_answers_no_pass() {
    let input = input(2);
    let round = plan_round(&input, NONCE).unwrap();
    assert_eq!(except(ControlState::Indeterminate, &input, &round, vec![]), []);
    let seen = behave(&round, "1.14.7");
    assert_eq!(
        except(ControlState::Indeterminate, &input, &Round::default(), seen),
        []
    );
}

#[test]
fn caches_are_filled_before_the_outside_asks_and_cached_names_come_first() {
    let round = plan_round(&input(2), NONCE).unwrap();
    let ids: Vec<u32> = round.steps().map(|(_, probe)| probe.id).collect();
    assert_eq!(ids, (0..u32::try_from(ids.len()).unwrap()).collect::<Vec<_>>());
    assert!(
        round
            .warm
            .iter()
            .all(|(purpose, _)| matches!(purpose.aim, Aim::WarmUp(_) | Aim::Lever(Lever::Text)))
    );
    assert!(
        round
            .outside
            .iter()
            .all(|(purpose, _)| purpose.aim.vantage() == Vantage::Outside)
    );
    assert!(
        round
            .inside
            .iter()
            .all(|(purpose, _)| purpose.aim.vantage() == Vantage::Inside)
    );
    let warmed = |(purpose, _): &Step| matches!(purpose.aim, Aim::OutsideWarmed(_));
    let first_other = round.outside.iter().position(|step| !warmed(step)).unwrap();
    assert!(first_other > 0 && !round.outside[first_other..].iter().any(warmed));

    let names = |steps: &[Step], wanted: fn(Aim) -> bool| -> BTreeSet<String> {
        questions(steps)
            .filter(|(purpose, _)| wanted(purpose.aim))
            .map(|(_, question)| question.name.to_string())
            .collect()
    };
    let filled = names(&round.warm, |aim| matches!(aim, Aim::WarmUp(_)));
    assert_eq!(
        filled,
        names(&round.outside, |aim| matches!(aim, Aim::OutsideWarmed(_)))
    );
    let expected = [
        "kubernetes.default.svc.cluster.local",
        "n0nce.tsutsumi-probe.test",
        "www.example.jp",
    ];
    assert_eq!(filled, expected.map(str::to_owned).into());
}

#[test]
fn a_fresh_name_is_asked_for_once_below_every_zone() {
    let round = plan_round(&input(2), NONCE).unwrap();
    let fresh: Vec<String> = questions(&round.outside)
        .filter(|(purpose, _)| purpose.aim == Aim::OutsideFresh)
        .map(|(_, question)| question.name.to_string())
        .collect();
    assert_eq!(fresh.iter().collect::<BTreeSet<_>>().len(), fresh.len());
    assert!(fresh.iter().all(|name| name.contains(NONCE)));
    // Two exposed addresses and two pods with two addresses, over two transports.
    for zone in [
        ".default.svc.cluster.local",
        ".tsutsumi-probe.test",
        ".town.example.jp",
    ] {
        assert_eq!(
            fresh.iter().filter(|name| name.ends_with(zone)).count(),
            (2 + 2 * 2) * 2,
            "{zone}"
        );
    }
}

#[test]
fn what_is_asked_fits_what_it_is_to_show() {
    let round = plan_round(&input(1), NONCE).unwrap();
    let steps: Vec<Step> = round.steps().cloned().collect();
    for (purpose, question) in questions(&steps) {
        let (qtype, qclass) = match purpose.aim {
            Aim::OutsideAny | Aim::InsideAny | Aim::Lever(Lever::Any) => (QueryType::Any, QueryClass::In),
            Aim::OutsideChaos => (QueryType::Txt, QueryClass::Ch),
            Aim::Lever(Lever::Keys) => (QueryType::Dnskey, QueryClass::In),
            Aim::Lever(Lever::Text) => (QueryType::Txt, QueryClass::In),
            _ => (QueryType::A, QueryClass::In),
        };
        assert_eq!((question.qtype, question.qclass), (qtype, qclass), "{purpose:?}");
        match purpose.aim {
            Aim::SizeWith4096 => {
                assert_eq!((question.edns, question.transport), (Some(4096), Transport::Udp));
            }
            Aim::SizeWithoutEdns => assert_eq!((question.edns, question.transport), (None, Transport::Udp)),
            Aim::SizeOverTcp => assert_eq!(question.transport, Transport::Tcp),
            _ => continue,
        }
        assert_eq!(
            question.name.as_str(),
            "tsutsumi-large-answer.tsutsumi.svc.cluster.local"
        );
    }
}

#[test]
fn the_order_of_the_input_changes_nothing() {
    let mut input = input(5);
    input.pods[2].ready = false;
    let mut other = input.clone();
    other.pods.reverse();
    for pod in &mut other.pods {
        pod.endpoints.reverse();
    }
    other.exposures[0].endpoints.reverse();
    other.exposures[0].transports.reverse();
    let round = plan_round(&input, NONCE).unwrap();
    assert_eq!(round, plan_round(&other, NONCE).unwrap());
    let mut seen = behave(&round, "1.14.6");
    let one = judge_round(&input, &round, seen.clone());
    seen.reverse();
    assert_eq!(one, judge_round(&other, &round, seen));
}

#[test]
fn a_round_is_bounded_and_what_is_beyond_it_is_unproven() {
    let mut input = input(MAX_PODS + 1);
    input.pods[0].ready = false;
    let round = plan_round(&input, NONCE).unwrap();
    let probed: BTreeSet<&Place> = round.warm.iter().map(|(purpose, _)| &purpose.place).collect();
    assert_eq!(probed.len(), MAX_PODS);
    assert!(
        !probed.contains(&Place::Pod(input.pods[0].label.clone())),
        "one that serves goes first"
    );
    let verdicts = judge_round(&input, &round, behave(&round, "1.14.7"));
    for (verdict, seen) in &verdicts[..5] {
        assert_eq!(verdict.state, ControlState::Indeterminate, "{verdict:?}");
        assert!(
            verdict.observed.contains("kube-system/coredns-000"),
            "{}",
            verdict.observed
        );
        assert!(seen.len() <= tsutsumi_controls::MAX_DECIDING);
    }

    input.exposures[0].endpoints = (0..=MAX_EXPOSED)
        .map(|n| endpoint(&format!("192.0.2.{n}:30053")))
        .collect();
    let round = plan_round(&input, NONCE).unwrap();
    let exposed: BTreeSet<_> = questions(&round.outside)
        .filter(|(purpose, _)| matches!(purpose.place, Place::Exposure(_)))
        .map(|(_, question)| question.server)
        .collect();
    assert_eq!(exposed.len(), MAX_EXPOSED);
}

#[test]
fn without_a_prober_outside_nothing_is_asked_there() {
    let mut input = input(1);
    let why = "no outside vantage is configured: set `vantages` in the chart's values";
    input.outside = Availability::Missing(why.into());
    let round = plan_round(&input, NONCE).unwrap();
    assert!(round.outside.is_empty());
    let verdicts = judge_round(&input, &round, behave(&round, "1.14.7"));
    let state = |id| {
        verdicts
            .iter()
            .find(|(verdict, _)| verdict.control == id)
            .map(|(v, _)| v.state)
    };
    assert_eq!(state(ControlId::Dns01), Some(ControlState::Indeterminate));
    assert_eq!(state(ControlId::Dns02), Some(ControlState::Pass));
    assert_eq!(state(ControlId::Dns09), Some(ControlState::Indeterminate));
    assert!(
        verdicts[0].0.message.contains("set `vantages`"),
        "{}",
        verdicts[0].0.message
    );
}

#[test]
fn a_version_that_leaks_is_named_with_the_one_that_does_not() {
    use ControlState::{Fail, Indeterminate, Pass};
    let input = input(2);
    let round = plan_round(&input, NONCE).unwrap();
    let mut seen = behave(&round, "v1.14.6");
    let leaks = [(ControlId::Dns01, Indeterminate), (ControlId::Dns12, Fail)];
    assert_eq!(except(Pass, &input, &round, seen.clone()), leaks);
    for ((purpose, _), observation) in round.steps().zip(&mut seen) {
        if matches!(purpose.aim, Aim::OutsideWarmed(_)) {
            observation.saw = dns(Rcode::NOERROR, 1, 90, false);
        }
    }
    let verdicts = judge_round(&input, &round, seen);
    let (version, _) = of(ControlId::Dns12, verdicts.clone());
    assert!(
        version.message.contains("to 1.14.7 or later"),
        "{}",
        version.message
    );
    let (open, behind) = of(ControlId::Dns01, verdicts);
    assert_eq!(open.state, Fail);
    assert!(open.message.contains("Fixed in 1.14.7"), "{}", open.message);
    assert!(
        behind
            .iter()
            .all(|observation| observation.vantage == Vantage::Outside)
    );

    let own = behave(&round, "1.13.1");
    assert_eq!(except(Pass, &input, &round, own), leaks);
    let custom = behave(&round, "town");
    assert_eq!(
        except(Pass, &input, &round, custom),
        [(ControlId::Dns12, Indeterminate)]
    );
}

#[test]
fn the_tag_of_the_managed_resolver_is_compared_with_what_is_known_of_unbound() {
    for (tag, state) in [
        ("1.26.1", ControlState::Fail),
        ("1.26.2", ControlState::Pass),
        ("own", ControlState::Indeterminate),
    ] {
        let mut input = input(1);
        input.resolvers[0].image_version = Some(tag.to_owned());
        let round = plan_round(&input, NONCE).unwrap();
        let all = judge_round(&input, &round, behave(&round, "1.14.7"));
        let (verdict, _) = all.last().unwrap();
        assert_eq!(
            (verdict.control, verdict.state),
            (ControlId::Dns12, state),
            "{verdict:?}"
        );
    }
}

#[test]
fn evidence_of_metrics_is_what_tells_the_version() {
    let input = input(1);
    let round = plan_round(&input, NONCE).unwrap();
    let verdicts = judge_round(&input, &round, behave(&round, "1.14.7"));
    let (_, behind) = of(ControlId::Dns12, verdicts);
    let Saw::Metrics(samples) = &behind[0].saw else {
        unreachable!("{behind:?}")
    };
    assert_eq!(
        samples.iter().map(|sample| sample.name).collect::<Vec<_>>(),
        [MetricName::CorednsBuildInfo]
    );
}

#[test]
fn names_that_are_none_are_refused() {
    assert!(plan_round(&input(1), "two words").is_err());
    assert!(
        plan_round(&input(1), &"n".repeat(60)).is_err(),
        "no room for the number"
    );
    let mut input = input(1);
    input.namespace = "a b".into();
    assert!(plan_round(&input, NONCE).is_err());
}

#[test]
fn zones_come_from_the_keys_of_server_blocks() {
    let keys = [
        ".:53",
        "town.example.jp:53",
        "Town.example.jp.",
        "dns://corp.example:1053",
        "tls://dot.example",
        "10.0.0.0/24",
        "{$ZONE}",
        "cluster.local",
    ];
    let zones: Vec<String> = zones_of_keys(keys).iter().map(ToString::to_string).collect();
    assert_eq!(zones, ["cluster.local", "corp.example", "town.example.jp"]);
    let mut many = input(1);
    many.zones = (0..20)
        .map(|n| format!("z{n:02}.example").parse().unwrap())
        .collect();
    let round = plan_round(&many, NONCE).unwrap();
    let fresh = questions(&round.outside)
        .filter(|(purpose, _)| purpose.aim == Aim::OutsideFresh)
        .count();
    assert_eq!(fresh, (2 + 2) * 2 * (2 + MAX_ZONES));
}

#[test]
fn a_policy_asks_for_what_its_sections_say() {
    let spec = |json: serde_json::Value| -> ResolverPolicySpec { serde_json::from_value(json).unwrap() };
    let none = asked(&spec(
        serde_json::json!({"mode": "Audit", "recursion": {"sourcePorts": "Random"}}),
    ));
    let ports = Asked {
        random_ports: true,
        ..Asked::default()
    };
    assert_eq!(none, ports);
    let all = asked(&spec(serde_json::json!({
        "mode": "Enforce",
        "clients": {"include": ["Cluster"], "others": "Drop"},
        "udp": {"maxMessageBytes": 1232},
        "anyQueries": "Empty",
    })));
    assert_eq!(
        all,
        Asked {
            clients: Some(Others::Drop),
            udp_max_bytes: Some(1232),
            any_empty: true,
            random_ports: false,
            validation: false,
        }
    );

    let mut input = input(1);
    input.asked = Asked::default();
    input.around = None;
    input.root = Root::Unasked;
    let round = plan_round(&input, NONCE).unwrap();
    let seen = behave(&round, "1.14.7");
    assert_eq!(
        except(ControlState::NotApplicable, &input, &round, seen),
        [(ControlId::Dns12, ControlState::Pass)]
    );
}
