//! What an answer means to a client: the rules that several controls share.

use tsutsumi_model::{DnsAnswer, Failure, Rcode, Saw};

use crate::{round::Place, text::counted};

/// How a client outside fared.
pub(crate) enum Outside {
    /// REFUSED.
    Refused,
    /// Nothing came. An address that does not answer is no open resolver.
    Silent,
    /// An answer of any other kind, in words.
    Answered(String),
    /// It cannot be told.
    Unclear(Failure),
}

/// How a client outside fared at a place.
///
/// Addresses of pods are rarely routed outside the cluster, so that no route to them is what one hopes for. An exposed
/// address is there to be reached: without a route to it nothing is proven.
pub(crate) fn outside(place: &Place, saw: &Saw) -> Outside {
    match (saw, place) {
        (Saw::Answer(answer), _) if answer.rcode == Rcode::REFUSED => Outside::Refused,
        (Saw::Answer(answer), _) => Outside::Answered(brief(answer)),
        (
            Saw::Nothing(
                Failure::Closed | Failure::ConnectionRefused | Failure::Timeout | Failure::Unanswered,
            ),
            _,
        )
        | (Saw::Nothing(Failure::Unreachable), Place::Pod(_)) => Outside::Silent,
        (
            Saw::Nothing(
                failure @ (Failure::Malformed
                | Failure::NotPermitted
                | Failure::Unfinished
                | Failure::Unreachable),
            ),
            _,
        ) => Outside::Unclear(*failure),
        (Saw::Metrics(_) | Saw::Root(_) | Saw::Series(_), _) => Outside::Unclear(Failure::Malformed),
    }
}

/// Whether something at the address, or in front of it, was reached: anything came back, also a refusal, or a
/// connection was taken. Silence alone is the same behind a wall and from a prober that is cut off.
pub(crate) const fn reached(saw: &Saw) -> bool {
    match saw {
        Saw::Answer(_) | Saw::Metrics(_) | Saw::Root(_) | Saw::Series(_) => true,
        Saw::Nothing(failure) => match failure {
            Failure::Closed | Failure::ConnectionRefused | Failure::Malformed | Failure::Unanswered => true,
            Failure::NotPermitted | Failure::Timeout | Failure::Unfinished | Failure::Unreachable => false,
        },
    }
}

/// NOERROR and NXDOMAIN: the server did its work.
pub(crate) fn served(answer: &DnsAnswer) -> bool {
    matches!(answer.rcode, Rcode::NOERROR | Rcode::NXDOMAIN)
}

/// An answer in few words.
pub(crate) fn brief(answer: &DnsAnswer) -> String {
    format!(
        "{} with {}",
        answer.rcode,
        counted(usize::from(answer.answers), "record")
    )
}
