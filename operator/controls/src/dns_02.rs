//! `DNS-02`: answers and questions stay within the policy's size over UDP.
//!
//! Measured as bytes of the message on the wire: the EDNS size in an answer tells what a server accepts, not what it
//! sends. A client that offers 4096 must get no more than the policy allows, one without EDNS no more than 512 (RFC
//! 1035, 4.2.1); what does not fit must say so (TC) and be complete over TCP (RFC 7766). Towards other servers it is
//! the size offered that counts, as a probe zone hears it: what is offered may come.

use std::collections::BTreeMap;

use tsutsumi_model::{Ask, ControlId, DnsAnswer, DnsQuestion, Endpoint, Rcode, Saw, Transport, Vantage};

use crate::{
    Control, Dossier, Judgement, Level,
    dossier::{Joined, pod_cells},
    ledger::{Ledger, not_asked},
    outcome::brief,
    round::{Aim, Place},
    text::counted,
};

/// The control.
pub const CONTROL: Control = Control {
    id: ControlId::Dns02,
    title_en: "Answers stay within 1,232 bytes over UDP",
    title_ja: "UDPのメッセージを1,232バイト以内にする",
    clause: "MIC guideline 6.5 (1) note 2",
    requirement: &["R9"],
    level: Level::Recommended,
    enforced_by: "`bufsize` with the policy's number in every server block",
    proven_by: "the size in bytes of a big answer at every pod, for clients that offer 4096 bytes and for clients \
                without EDNS, and the whole of it over TCP; and the size that every pod offers a probe zone",
    remedy: "Enforce the policy's `udp.maxMessageBytes`; where only some names are too big, a server block lacks \
             `bufsize`.",
};

/// The limit for a client without EDNS, in bytes (RFC 1035, 4.2.1).
const WITHOUT_EDNS: u16 = 512;

const NEEDED: [(Aim, Transport); 3] = [
    (Aim::SizeWith4096, Transport::Udp),
    (Aim::SizeWithoutEdns, Transport::Udp),
    (Aim::SizeOverTcp, Transport::Tcp),
];

/// Judges it.
#[must_use]
pub fn judge(dossier: &Dossier) -> Judgement {
    let Some(max) = dossier.asked.udp_max_bytes else {
        return not_asked(&CONTROL, "udp");
    };
    let mut ledger = Ledger::new(&CONTROL, dossier);
    let joined = dossier.joined();
    if ledger.has_vantage(Vantage::Inside) {
        ledger.uncovered(&pod_cells(&dossier.pods, &NEEDED), &joined);
    }

    let whole = judge_whole(&mut ledger, dossier, &joined, max);
    let mut largest = 0;
    for step in &joined {
        let Ask::Dns(question) = &step.probe.ask else {
            continue;
        };
        let inside = step.purpose.aim.vantage() == Vantage::Inside;
        if inside && question.transport == Transport::Udp {
            largest = largest.max(judge_datagrams(&mut ledger, dossier, step, question, max, &whole));
        }
    }

    let offered = judge_offers(&mut ledger, dossier, &joined, max);

    let expected = format!(
        "at most {max} bytes over UDP for a client that offers 4096, at most {WITHOUT_EDNS} for one without EDNS; what \
         is bigger is marked as truncated and complete over TCP; towards other servers no more is offered"
    );
    let well = format!(
        "at {} no answer over UDP has more than {largest} bytes; the big one has {} bytes over TCP; {}",
        counted(dossier.pods.len(), "pod"),
        whole
            .values()
            .map(|answer| answer.answer_bytes)
            .min()
            .unwrap_or_default(),
        match offered {
            Some(bytes) => format!("at most {bytes} bytes are offered to the probe zone"),
            None => "what is offered to other servers was not heard".to_owned(),
        }
    );
    ledger.close(
        &expected,
        &well,
        "No answer is big enough to be cut into fragments.",
    )
}

/// Judges what the pods offer a probe zone, where one heard them, and returns the most; none where no EDNS came.
///
/// Whether it is heard at all is for `DNS-03`, which says what is missing.
fn judge_offers(ledger: &mut Ledger<'_>, dossier: &Dossier, joined: &[Joined<'_>], max: u16) -> Option<u16> {
    let mut most = None;
    for step in joined.iter().filter(|step| step.purpose.aim == Aim::Ports) {
        let heard = dossier.heard.get(&step.probe.id);
        let offers = heard
            .iter()
            .flat_map(|heard| &heard.askers)
            .filter_map(|asker| Some((asker.largest_offer?, asker.address)));
        let Some((offered, asker)) = offers.max() else {
            continue;
        };
        most = most.max(Some(offered));
        let index = step.seen.first().map(|(index, _)| *index);
        let place = &step.purpose.place;
        if offered > max && dossier.is_pod(asker) {
            ledger.fail(
                format!("{place} offers {offered} bytes to other servers where {max} are allowed"),
                format!(
                    "It passes on what its client offers: a server block lacks `bufsize {max}`. With `mode: Enforce` the \
                     policy writes it into configmap {}/{}.",
                    dossier.target.namespace, dossier.target.config_map
                ),
                index,
            );
        } else if offered > max {
            let who = match place {
                Place::Resolver(_) => place.to_string(),
                _ => format!("{asker}, behind {place},"),
            };
            ledger.fail(
                format!("{who} offers {offered} bytes to other servers where {max} are allowed"),
                format!(
                    "The resolver there offers more than the policy allows: set the EDNS size of its own questions to \
                     {max} bytes, which is `edns-buffer-size` in Unbound, `edns-udp-size` in BIND, `net.bufsize` in Knot \
                     Resolver and `outgoing.edns_bufsize` in PowerDNS Recursor."
                ),
                index,
            );
        } else if let Some(index) = index {
            ledger.good(index);
        }
    }
    most
}

/// The complete answers over TCP, by address.
type Whole<'a> = BTreeMap<(&'a Place, Endpoint), &'a DnsAnswer>;

fn judge_whole<'a>(ledger: &mut Ledger<'_>, dossier: &Dossier, joined: &[Joined<'a>], max: u16) -> Whole<'a> {
    let mut whole = Whole::new();
    for step in joined.iter().filter(|step| step.purpose.aim == Aim::SizeOverTcp) {
        if !ledger.was_made(step) {
            continue;
        }
        for (index, observation) in &step.seen {
            match &observation.saw {
                Saw::Answer(answer) if answer.truncated => ledger.fail(
                    format!("the big answer is marked as truncated {}", step.at()),
                    "Over TCP an answer has to be complete: nothing else is left for a client to ask.".to_owned(),
                    Some(*index),
                ),
                Saw::Answer(answer)
                    if answer.rcode == Rcode::NOERROR && answer.answer_bytes > u32::from(max) =>
                {
                    if let Some(cell) = step.cell() {
                        whole.insert((&step.purpose.place, cell.endpoint), answer);
                    }
                    ledger.good(*index);
                }
                Saw::Answer(answer) => ledger.doubt(
                    format!(
                        "no name with a big answer: {} and {} bytes {}",
                        brief(answer),
                        answer.answer_bytes,
                        step.at()
                    ),
                    format!(
                        "The headless Service whose answer exceeds {max} bytes is missing: install it with the chart's \
                         `verification.largeAnswer=true`. Pods of `{}` may need a moment to learn of it.",
                        dossier.target.workload
                    ),
                    Some(*index),
                ),
                Saw::Nothing(failure) => ledger.silent(step, *index, *failure),
                Saw::Metrics(_) | Saw::Root(_) | Saw::Series(_) => ledger.silent(step, *index, tsutsumi_model::Failure::Malformed),
            }
        }
    }
    whole
}

/// Judges the answers to one question over UDP, whatever it was asked for, and returns the largest size.
fn judge_datagrams(
    ledger: &mut Ledger<'_>,
    dossier: &Dossier,
    step: &Joined<'_>,
    question: &DnsQuestion,
    max: u16,
    whole: &Whole<'_>,
) -> u32 {
    let sized = matches!(step.purpose.aim, Aim::SizeWith4096 | Aim::SizeWithoutEdns);
    if !ledger.was_made(step) {
        return 0;
    }
    let limit = question.edns.map_or(WITHOUT_EDNS, |offered| {
        offered.clamp(WITHOUT_EDNS, max.max(WITHOUT_EDNS))
    });
    let complete = whole.get(&(&step.purpose.place, question.server));
    let mut largest = 0;
    for (index, observation) in &step.seen {
        match &observation.saw {
            Saw::Answer(answer) if answer.answer_bytes > u32::from(limit) => {
                largest = largest.max(answer.answer_bytes);
                ledger.fail(
                    format!(
                        "{} bytes where {limit} are allowed, for {} {}",
                        answer.answer_bytes,
                        step.purpose.aim,
                        step.at()
                    ),
                    format!(
                        "A server block lacks `bufsize {max}`. With `mode: Enforce` the policy writes it into configmap \
                         {}/{}; `kubectl describe resolverpolicy` shows what is yet to be written and why.",
                        dossier.target.namespace, dossier.target.config_map
                    ),
                    Some(*index),
                );
            }
            Saw::Answer(answer) => {
                largest = largest.max(answer.answer_bytes);
                if sized {
                    judge_cut(ledger, step, *index, answer, complete.copied());
                }
            }
            Saw::Nothing(failure) if sized => ledger.silent(step, *index, *failure),
            Saw::Nothing(_) | Saw::Metrics(_) | Saw::Root(_) | Saw::Series(_) => {}
        }
    }
    largest
}

/// A small enough answer is right if it is complete or says that it is not.
fn judge_cut(
    ledger: &mut Ledger<'_>,
    step: &Joined<'_>,
    index: usize,
    answer: &DnsAnswer,
    whole: Option<&DnsAnswer>,
) {
    match whole {
        _ if answer.rcode != Rcode::NOERROR => ledger.doubt(
            format!("{} to {} {}", brief(answer), step.purpose.aim, step.at()),
            "The name with a big answer has to exist; see the advice for TCP, or ask again.".to_owned(),
            Some(index),
        ),
        Some(whole) if !answer.truncated && answer.answers < whole.answers => ledger.fail(
            format!(
                "{} of {} records without the mark of truncation {}",
                answer.answers,
                whole.answers,
                step.at()
            ),
            "A client cannot know that records are missing: find what shortens answers on the way, for example a \
             `template` or a middlebox."
                .to_owned(),
            Some(index),
        ),
        _ => ledger.good(index),
    }
}

#[cfg(test)]
mod tests {
    use tsutsumi_model::{ControlState, Failure};

    use super::*;
    use crate::scene::{PODS, answer, holding, ids, see};

    #[test]
    fn each_rule_both_ways() {
        use ControlState::{Fail, Indeterminate, Pass};
        let noerror = |answers, bytes, truncated| answer(Rcode::NOERROR, answers, bytes, truncated);
        let table = [
            (
                "as it should be",
                Aim::SizeWith4096,
                noerror(60, 1232, true),
                Pass,
                "1232 bytes",
            ),
            (
                "one byte too many",
                Aim::SizeWith4096,
                noerror(60, 1233, true),
                Fail,
                "1233 bytes where 1232",
            ),
            (
                "too many without EDNS",
                Aim::SizeWithoutEdns,
                noerror(26, 513, true),
                Fail,
                "513 bytes where 512",
            ),
            (
                "cut in silence",
                Aim::SizeWith4096,
                noerror(60, 1200, false),
                Fail,
                "60 of 120 records",
            ),
            (
                "complete, compressed",
                Aim::SizeWith4096,
                noerror(120, 1200, false),
                Pass,
                "",
            ),
            (
                "cut over TCP",
                Aim::SizeOverTcp,
                noerror(60, 3000, true),
                Fail,
                "truncated over TCP",
            ),
            (
                "not big",
                Aim::SizeOverTcp,
                noerror(2, 1232, false),
                Indeterminate,
                "no name with a big answer",
            ),
            (
                "no such name",
                Aim::SizeOverTcp,
                answer(Rcode::NXDOMAIN, 0, 100, false),
                Indeterminate,
                "NXDOMAIN",
            ),
            (
                "failed",
                Aim::SizeWith4096,
                answer(Rcode::SERVFAIL, 0, 40, false),
                Indeterminate,
                "SERVFAIL",
            ),
            (
                "silent",
                Aim::SizeWith4096,
                Saw::Nothing(Failure::Timeout),
                Indeterminate,
                "silence",
            ),
            (
                "another answer too big",
                Aim::InsideServed,
                noerror(90, 1300, false),
                Fail,
                "a cluster name",
            ),
        ];
        for (what, aim, saw, state, observed) in table {
            let mut dossier = holding();
            see(&mut dossier, aim, Some(&Place::Pod(PODS[1].into())), &saw);
            let verdict = judge(&dossier).verdict;
            assert_eq!(verdict.state, state, "{what}: {verdict:?}");
            assert!(
                verdict.observed.contains(observed),
                "{what}: {}",
                verdict.observed
            );
        }
    }

    #[test]
    fn what_is_offered_to_other_servers_counts_too() {
        let mut dossier = holding();
        let well = judge(&dossier).verdict;
        assert!(
            well.observed.contains("at most 1232 bytes are offered"),
            "{}",
            well.observed
        );
        let id = ids(&dossier, Aim::Ports).last().unwrap();
        let last = dossier.heard.get_mut(&id).unwrap();
        last.askers[0].largest_offer = Some(4096);
        let verdict = judge(&dossier).verdict;
        assert_eq!(verdict.state, ControlState::Fail);
        assert!(
            verdict.observed.contains("coredns-b offers 4096 bytes"),
            "{}",
            verdict.observed
        );

        let resolver = "192.0.2.53".parse().unwrap();
        dossier.heard.get_mut(&id).unwrap().askers[0].address = resolver;
        let verdict = judge(&dossier).verdict;
        assert!(
            verdict.observed.contains("192.0.2.53, behind pod"),
            "{}",
            verdict.observed
        );
        assert!(
            verdict.message.contains("edns-buffer-size"),
            "{}",
            verdict.message
        );
        dossier.heard.clear();
        let unheard = judge(&dossier).verdict;
        assert_eq!(unheard.state, ControlState::Pass);
        assert!(unheard.observed.contains("was not heard"), "{}", unheard.observed);
    }

    #[test]
    fn a_failure_names_the_object_and_the_number_to_write() {
        let mut dossier = holding();
        see(
            &mut dossier,
            Aim::SizeWith4096,
            None,
            &answer(Rcode::NOERROR, 120, 3238, false),
        );
        let verdict = judge(&dossier).verdict;
        assert!(verdict.message.contains("bufsize 1232"), "{}", verdict.message);
        assert!(
            verdict.message.contains("kube-system/coredns"),
            "{}",
            verdict.message
        );
        assert_eq!(verdict.vantages, [Vantage::Inside]);
    }

    #[test]
    fn nobody_asked() {
        let mut dossier = holding();
        dossier.asked.udp_max_bytes = None;
        assert_eq!(judge(&dossier).verdict.state, ControlState::NotApplicable);
    }

    #[test]
    fn the_policys_number_counts_not_the_guidelines() {
        let mut dossier = holding();
        dossier.asked.udp_max_bytes = Some(1100);
        assert_eq!(judge(&dossier).verdict.state, ControlState::Fail);
        dossier.asked.udp_max_bytes = Some(4096);
        assert_eq!(
            judge(&dossier).verdict.state,
            ControlState::Indeterminate,
            "3000 bytes are not big then"
        );
    }
}
