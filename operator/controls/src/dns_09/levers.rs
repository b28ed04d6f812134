//! What TXT and DNSKEY gain over UDP: bytes of the answer for each byte of the question.
//!
//! A question has 40 to 60 bytes and can be forged; DNS multiplies it by 28 to 54 where nothing is bounded (US-CERT
//! TA14-017A). With at most 1,232 bytes in an answer it is 20 to 30 times, whatever is asked for. So the bound on bytes is
//! what is demanded, and the gain is what is told. A long text proves the bound only where the server has it in whole:
//! hence it is asked for over TCP first.

use std::{collections::BTreeMap, fmt};

use tsutsumi_model::{Ask, DnsAnswer, Failure, Rcode, Saw, Transport};

use crate::{
    Availability, Dossier,
    dossier::Joined,
    ledger::{Ledger, sentence},
    outcome::brief,
    round::{Aim, Lever, Place},
};

/// What ANY gets is judged beside the other questions of this type; that it was asked is seen to here.
const MEASURED: [(Lever, Transport); 4] = [
    (Lever::Any, Transport::Udp),
    (Lever::Text, Transport::Tcp),
    (Lever::Text, Transport::Udp),
    (Lever::Keys, Transport::Udp),
];

/// The worst answer, measured against its question.
#[derive(Default)]
pub(super) struct Gain {
    answer: u32,
    query: u32,
}

impl Gain {
    pub(super) fn of(answer: &DnsAnswer) -> Self {
        Self {
            answer: answer.answer_bytes,
            query: answer.query_bytes,
        }
    }

    pub(super) fn take(&mut self, answer: &DnsAnswer) {
        let worse = u64::from(answer.answer_bytes) * u64::from(self.query.max(1));
        if worse > u64::from(self.answer) * u64::from(answer.query_bytes.max(1)) || self.query == 0 {
            *self = Self::of(answer);
        }
    }
}

/// The sizes and their ratio, in tenths.
impl fmt::Display for Gain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = u64::from(self.answer) * 10 / u64::from(self.query.max(1));
        write!(
            f,
            "{} bytes for a question of {} ({}.{} times)",
            self.answer,
            self.query,
            tenths / 10,
            tenths % 10
        )
    }
}

/// Judges what was measured, and says what was gained at worst; nothing where there is no probe zone to measure with.
pub(super) fn judge(ledger: &mut Ledger<'_>, dossier: &Dossier, joined: &[Joined<'_>]) -> String {
    if let Availability::Missing(why) = &dossier.zone {
        ledger.note(format!("TXT and DNSKEY were not measured: {}", sentence(why)));
        return String::new();
    }
    let mut worst: BTreeMap<Lever, Gain> = BTreeMap::new();
    for pod in &dossier.pods {
        let place = Place::Pod(pod.label.clone());
        for (lever, transport) in MEASURED {
            let aim = Aim::Lever(lever);
            let mut steps = joined
                .iter()
                .filter(|step| {
                    step.purpose.aim == aim && step.purpose.place == place && over(step) == Some(transport)
                })
                .peekable();
            if steps.peek().is_none() {
                ledger.unplanned(aim, &place);
            }
            for step in steps {
                if lever != Lever::Any && ledger.was_made(step) {
                    judge_step(ledger, dossier, step, worst.entry(lever).or_default());
                }
            }
        }
    }
    let gains = worst
        .iter()
        .map(|(lever, gain)| format!("; {}: {gain}", lever.word()));
    gains.collect()
}

fn judge_step(ledger: &mut Ledger<'_>, dossier: &Dossier, step: &Joined<'_>, worst: &mut Gain) {
    for (index, observation) in &step.seen {
        let answer = match &observation.saw {
            Saw::Answer(answer) => answer,
            Saw::Nothing(failure) => {
                ledger.silent(step, *index, *failure);
                continue;
            }
            Saw::Metrics(_) | Saw::Root(_) | Saw::Series(_) => {
                ledger.silent(step, *index, Failure::Malformed);
                continue;
            }
        };
        let udp = over(step) == Some(Transport::Udp);
        let is_there = answer.rcode == Rcode::NOERROR && (answer.answers > 0 || udp && answer.truncated);
        let too_large = dossier
            .asked
            .udp_max_bytes
            .filter(|max| udp && answer.answer_bytes > u32::from(*max));
        if let Some(max) = too_large {
            ledger.fail(
                format!("{} to {}, {}", Gain::of(answer), step.purpose.aim, step.at()),
                format!(
                    "A server block lacks `bufsize {max}`: see DNS-02 and configmap {}/{}.",
                    dossier.target.namespace, dossier.target.config_map
                ),
                Some(*index),
            );
        } else if is_there {
            if udp {
                worst.take(answer);
            }
            ledger.good(*index);
        } else if answer.rcode == Rcode::REFUSED {
            if udp {
                worst.take(answer);
            }
            ledger.good(*index);
            ledger.note(sentence(&format!(
                "{} is refused to the prober, so it gains nothing there",
                step.purpose.aim
            )));
        } else {
            ledger.doubt(
                format!("{} to {}, {}", brief(answer), step.purpose.aim, step.at()),
                "Names of the probe zone are not resolved here, so that nothing long was asked for: the Corefile has to \
                 lead them to its server, and a resolver behind it has to know it too."
                    .to_owned(),
                Some(*index),
            );
        }
    }
}

fn over(step: &Joined<'_>) -> Option<Transport> {
    match &step.probe.ask {
        Ask::Dns(question) => Some(question.transport),
        Ask::Metrics(_) | Ask::Root(_) | Ask::Series(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use tsutsumi_model::ControlState::{Fail, Indeterminate, Pass};

    use crate::{
        Aim, Availability, Dossier, Lever, dns_09,
        scene::{answer, holding},
    };

    use super::*;

    /// Everything as it should be, but for what a lever gets at every pod over a transport.
    fn with(lever: Lever, transport: Transport, saw: &Saw) -> Dossier {
        let mut dossier = holding();
        for ((purpose, probe), observation) in dossier.steps.iter().zip(&mut dossier.observations) {
            let over = matches!(&probe.ask, Ask::Dns(question) if question.transport == transport);
            if purpose.aim == Aim::Lever(lever) && over {
                observation.saw = saw.clone();
            }
        }
        dossier
    }

    #[test]
    fn each_rule_both_ways() {
        use Transport::{Tcp, Udp};
        let found = |bytes, truncated| answer(Rcode::NOERROR, 2, bytes, truncated);
        for (lever, transport, saw, state, observed) in [
            (
                Lever::Text,
                Udp,
                found(1232, false),
                Pass,
                "TXT: 1232 bytes for a question of 50 (24.6 times)",
            ),
            (
                Lever::Text,
                Udp,
                found(1233, false),
                Fail,
                "1233 bytes for a question of 50 (24.6 times) to a long TXT",
            ),
            (Lever::Text, Udp, found(3900, false), Fail, "78.0 times"),
            (
                Lever::Text,
                Udp,
                answer(Rcode::NXDOMAIN, 0, 90, false),
                Indeterminate,
                "NXDOMAIN",
            ),
            // A rule of somebody's denies the type: then its answer is as short as its question.
            (
                Lever::Text,
                Udp,
                answer(Rcode::REFUSED, 0, 50, false),
                Pass,
                "TXT: 50 bytes for a question of 50 (1.0 times)",
            ),
            (
                Lever::Text,
                Udp,
                Saw::Nothing(Failure::Timeout),
                Indeterminate,
                "silence",
            ),
            (Lever::Text, Tcp, found(9000, false), Pass, "TXT: 100 bytes"),
            (
                Lever::Text,
                Tcp,
                answer(Rcode::SERVFAIL, 0, 90, false),
                Indeterminate,
                "SERVFAIL",
            ),
            (
                Lever::Text,
                Tcp,
                answer(Rcode::NOERROR, 0, 90, true),
                Indeterminate,
                "a long TXT",
            ),
            (
                Lever::Keys,
                Udp,
                found(4000, false),
                Fail,
                "80.0 times) to type DNSKEY",
            ),
            (
                Lever::Keys,
                Udp,
                found(250, false),
                Pass,
                "DNSKEY: 250 bytes for a question of 50 (5.0 times)",
            ),
            (
                Lever::Keys,
                Udp,
                answer(Rcode::NXDOMAIN, 0, 90, false),
                Indeterminate,
                "NXDOMAIN",
            ),
            (Lever::Any, Udp, found(250, false), Fail, "to ANY from inside"),
        ] {
            let verdict = dns_09::judge(&with(lever, transport, &saw)).verdict;
            assert_eq!(verdict.state, state, "{lever:?} {saw:?}: {verdict:?}");
            assert!(
                verdict.observed.contains(observed),
                "{lever:?}: {}",
                verdict.observed
            );
        }
    }

    #[test]
    fn without_a_bound_a_gain_is_told_and_not_judged() {
        let mut dossier = with(
            Lever::Text,
            Transport::Udp,
            &answer(Rcode::NOERROR, 2, 3900, false),
        );
        dossier.asked.udp_max_bytes = None;
        let verdict = dns_09::judge(&dossier).verdict;
        assert_eq!(verdict.state, Pass);
        assert!(verdict.observed.contains("78.0 times"), "{}", verdict.observed);
    }

    #[test]
    fn without_a_zone_it_is_said_what_was_not_measured() {
        let mut dossier = holding();
        dossier.zone = Availability::Missing("it does not run".into());
        dossier
            .steps
            .retain(|(purpose, _)| !matches!(purpose.aim, Aim::Lever(_)));
        let verdict = dns_09::judge(&dossier).verdict;
        assert_eq!(verdict.state, Pass);
        assert!(!verdict.observed.contains("TXT"), "{}", verdict.observed);
        assert!(
            verdict
                .message
                .contains("TXT and DNSKEY were not measured: It does not run"),
            "{}",
            verdict.message
        );
    }

    #[test]
    fn a_pod_that_was_not_measured_is_a_doubt() {
        let mut dossier = holding();
        let text = dossier
            .steps
            .iter()
            .position(|(purpose, _)| purpose.aim == Aim::Lever(Lever::Text));
        dossier.steps.remove(text.unwrap());
        assert_eq!(dns_09::judge(&dossier).verdict.state, Indeterminate);
    }
}
