//! `DNS-12`: the resolver's version is free of known holes.
//!
//! CoreDNS's process tells its version by `coredns_build_info`. An image's tag is enough to fail, since nobody tags an
//! image older than it is to please us, but not to pass: anybody can move a tag. The managed resolver hides its version
//! from everybody who asks, as it should, so of it the tag that we run is all there is; a pass says that it rests on it.

use std::collections::BTreeSet;

use tsutsumi_model::{ControlId, Failure, Saw, Vantage};

use crate::{
    Control, Dossier, Hole, Judgement, KnownVersion, Level, PodFacts, VersionSource,
    dossier::plain,
    ledger::Ledger,
    round::Aim,
    text::{counted, listed},
};

/// The control.
pub const CONTROL: Control = Control {
    id: ControlId::Dns12,
    title_en: "The resolver's version is free of known holes",
    title_ja: "既知の脆弱性のない版のリゾルバを使う",
    clause: "MIC guideline 6.5 (1) note 2",
    requirement: &["R5", "R8"],
    // The text asks for the properties that the holes break; it does not speak of versions.
    level: Level::Informative,
    enforced_by: "nothing: images belong to whoever installs them",
    proven_by: "`coredns_build_info` of every pod, compared with the list of published weaknesses; of the managed \
                resolver, the tag of every pod's image",
    remedy: "Update the image to the newest fixed version that the verdict names.",
};

/// Judges it.
#[must_use]
pub fn judge(dossier: &Dossier) -> Judgement {
    let mut ledger = Ledger::new(&CONTROL, dossier);
    let joined = dossier.joined();
    if ledger.has_vantage(Vantage::Inside) {
        for step in joined.iter().filter(|step| step.purpose.aim == Aim::Metrics) {
            if !ledger.was_made(step) {
                continue;
            }
            for (index, observation) in &step.seen {
                match &observation.saw {
                    Saw::Metrics(_) => {}
                    Saw::Nothing(failure) => ledger.silent(step, *index, *failure),
                    Saw::Answer(_) | Saw::Root(_) | Saw::Series(_) => {
                        ledger.silent(step, *index, Failure::Malformed);
                    }
                }
            }
        }
    }

    for pod in &dossier.pods {
        match dossier.version_of(pod) {
            None => ledger.doubt(
                format!("pod {} does not tell its version", pod.label),
                dossier.open_metrics(),
                None,
            ),
            Some((version, source)) => judge_version(&mut ledger, dossier, &pod.label, &version, source),
        }
    }

    for pod in &dossier.resolvers {
        judge_resolver(&mut ledger, dossier, pod);
    }
    let mut well = vec![run(dossier.pods.len(), "CoreDNS", &dossier.running_versions())];
    if !dossier.resolvers.is_empty() {
        let tags = dossier.resolver_tags();
        well.push(format!(
            "{}, by the tag of its image",
            run(dossier.resolvers.len(), "Unbound", &tags)
        ));
        ledger.note(
            "Unbound hides its version from everybody who asks, so that of the managed resolver the tag of the image \
             is all there is."
                .to_owned(),
        );
    }
    ledger.close(
        "every DNS pod, and every pod of the managed resolver, runs a version without a published weakness",
        &well.join("; "),
        "No weakness of these versions is on the list of this release of tsutsumi.",
    )
}

fn judge_version(
    ledger: &mut Ledger<'_>,
    dossier: &Dossier,
    pod: &str,
    version: &str,
    source: VersionSource,
) {
    let index = match source {
        VersionSource::Process(index) => Some(index),
        VersionSource::Image => None,
    };
    let Some(known) = dossier.known(version) else {
        return ledger.doubt(
            format!("pod {pod} runs `{version}`, which is on no list"),
            "A version of one's own making cannot be compared with published weaknesses: run a released one."
                .to_owned(),
            index,
        );
    };
    if let Some(newest) = newest_fix(known) {
        for Hole { id, fixed_in, what } in &known.holes {
            let fact = format!("CoreDNS {version} has {id} ({what}), fixed in {fixed_in}");
            let cure = format!(
                "Update CoreDNS {version} to {newest} or later: `kubectl -n {} set image {} '*=IMAGE'` with an image \
                 of that version.",
                dossier.target.namespace, dossier.target.workload
            );
            ledger.fail(fact, cure, index);
        }
        return;
    }
    match index {
        Some(index) => ledger.good(index),
        None => ledger.doubt(
            format!("the image of pod {pod} is tagged {version}, but the process does not say what it is"),
            dossier.open_metrics(),
            None,
        ),
    }
}

/// Of a pod of the managed resolver there is no observation: the tag alone counts.
fn judge_resolver(ledger: &mut Ledger<'_>, dossier: &Dossier, pod: &PodFacts) {
    let label = &pod.label;
    let tag = pod.image_version.as_deref().map(plain).unwrap_or_default();
    let Some(known) = dossier
        .resolver_versions
        .iter()
        .find(|known| known.running == tag)
    else {
        let fact = if tag.is_empty() {
            format!("the image of resolver {label} has no version in its tag")
        } else {
            format!("the image of resolver {label} is tagged `{tag}`, which is no version of Unbound")
        };
        let cure = "Set `managedResolver.image.tag` in the chart's values to the release that the image holds, beside \
                    its digest where there is one; Unbound itself hides its version.";
        return ledger.doubt(fact, cure.to_owned(), None);
    };
    let Some(newest) = newest_fix(known) else {
        return;
    };
    for Hole { id, fixed_in, what } in &known.holes {
        let fact = format!("Unbound {tag}, by the tag of its image, has {id} ({what}), fixed in {fixed_in}");
        let cure = format!(
            "Set `managedResolver.image` in the chart's values to an image of Unbound {newest} or later; the pods are \
             replaced one by one."
        );
        ledger.fail(fact, cure, None);
    }
}

/// The first version without any of the holes; none where there are none.
fn newest_fix(known: &KnownVersion) -> Option<&str> {
    let fixes = known.holes.iter().map(|hole| hole.fixed_in.as_str());
    fixes.max_by_key(|version| numbers(version))
}

fn run(pods: usize, what: &str, versions: &BTreeSet<String>) -> String {
    let ending = if pods == 1 { "s" } else { "" };
    format!("{} run{ending} {what} {}", counted(pods, "pod"), listed(versions))
}

/// The numbers of a version, so that 1.14.10 comes after 1.14.9.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use tsutsumi_model::{ControlState, Saw};

    use super::*;
    use crate::{
        KnownVersion,
        round::Place,
        scene::{PODS, holding, see, version},
    };

    fn with_holes(dossier: &mut Dossier) {
        let hole = |id: &str, fixed_in: &str| Hole {
            id: id.into(),
            fixed_in: fixed_in.into(),
            what: "memory exhausted".into(),
        };
        dossier.versions.push(KnownVersion {
            running: "1.14.2".into(),
            acl_leak: None,
            holes: vec![hole("CVE-0000-1", "1.14.9"), hole("CVE-0000-2", "1.14.10")],
        });
    }

    #[test]
    fn each_rule_both_ways() {
        use ControlState::{Fail, Indeterminate, Pass};
        let table = [
            (
                Some(version("1.14.7")),
                Some("1.14.7"),
                Pass,
                "2 pods run CoreDNS 1.14.7",
            ),
            (Some(version("1.14.7")), None, Pass, ""),
            (Some(version("1.14.2")), Some("1.14.7"), Fail, "CVE-0000-2"),
            (Some(version("1.14.7-town")), None, Indeterminate, "on no list"),
            (
                Some(Saw::Nothing(Failure::Timeout)),
                None,
                Indeterminate,
                "does not tell its version",
            ),
            (
                Some(Saw::Nothing(Failure::Timeout)),
                Some("v1.14.7"),
                Indeterminate,
                "the process does not say",
            ),
            (
                Some(Saw::Nothing(Failure::Timeout)),
                Some("v1.14.2"),
                Fail,
                "CVE-0000-1",
            ),
            (
                Some(Saw::Metrics(vec![])),
                None,
                Indeterminate,
                "does not tell its version",
            ),
            (None, Some("1.14.7"), Indeterminate, "was not seen"),
        ];
        for (saw, image, state, observed) in table {
            let mut dossier = holding();
            with_holes(&mut dossier);
            dossier.pods[0].image_version = image.map(str::to_owned);
            match &saw {
                Some(saw) => see(&mut dossier, Aim::Metrics, Some(&Place::Pod(PODS[0].into())), saw),
                None => dossier.observations.retain(|seen| seen.probe.id != 1000),
            }
            let verdict = judge(&dossier).verdict;
            assert_eq!(verdict.state, state, "{saw:?} {image:?}: {verdict:?}");
            assert!(
                verdict.observed.contains(observed),
                "{saw:?}: {}",
                verdict.observed
            );
        }
    }

    #[test]
    fn a_failure_names_the_newest_fix_and_the_command() {
        let mut dossier = holding();
        with_holes(&mut dossier);
        see(&mut dossier, Aim::Metrics, None, &version("v1.14.2"));
        let verdict = judge(&dossier).verdict;
        assert!(
            verdict.message.contains("to 1.14.10 or later"),
            "{}",
            verdict.message
        );
        assert!(
            verdict
                .message
                .contains("kubectl -n kube-system set image deployment/coredns")
        );
    }

    #[test]
    fn a_resolver_is_judged_by_its_tag_and_the_verdict_says_so() {
        use ControlState::{Fail, Indeterminate, Pass};
        for (tag, state, observed, message) in [
            (
                Some("1.26.2"),
                Pass,
                "1 pod runs Unbound 1.26.2, by the tag",
                "hides its version",
            ),
            (Some("v1.26.2"), Pass, "Unbound 1.26.2", ""),
            (
                Some("1.25.0"),
                Fail,
                "Unbound 1.25.0, by the tag of its image, has CVE-0000-3",
                "Unbound 1.26.2 or later",
            ),
            (
                Some("latest"),
                Indeterminate,
                "is tagged `latest`",
                "managedResolver.image.tag",
            ),
            (
                None,
                Indeterminate,
                "no version in its tag",
                "managedResolver.image.tag",
            ),
        ] {
            let mut dossier = holding();
            dossier.resolvers[0].image_version = tag.map(str::to_owned);
            dossier.resolver_versions.push(KnownVersion {
                running: "1.25.0".into(),
                acl_leak: None,
                holes: vec![Hole {
                    id: "CVE-0000-3".into(),
                    fixed_in: "1.26.2".into(),
                    what: "cache poisoning".into(),
                }],
            });
            let verdict = judge(&dossier).verdict;
            assert_eq!(verdict.state, state, "{tag:?}: {verdict:?}");
            assert!(
                verdict.observed.contains(observed),
                "{tag:?}: {}",
                verdict.observed
            );
            assert!(verdict.message.contains(message), "{tag:?}: {}", verdict.message);
        }
    }

    #[test]
    fn without_a_resolver_nothing_is_said_of_one() {
        let mut dossier = holding();
        dossier.resolvers.clear();
        let verdict = judge(&dossier).verdict;
        assert_eq!(verdict.state, ControlState::Pass);
        assert!(!format!("{verdict:?}").contains("Unbound"), "{verdict:?}");
    }

    #[test]
    fn no_pod_is_no_pass() {
        let mut dossier = holding();
        dossier.pods.clear();
        dossier.steps.clear();
        assert_eq!(judge(&dossier).verdict.state, ControlState::Indeterminate);
    }
}
