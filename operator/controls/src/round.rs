//! What each probe of a verification round is for.
//!
//! The planner and the judges meet here: a judge never guesses from a name or a type why a question was asked. The
//! vantage follows from the aim, so that an answer seen from inside can never count as one seen from outside.

use std::fmt;

use serde::{Deserialize, Serialize};
use tsutsumi_model::{Probe, Validator, Vantage, ZoneName};

/// A name that was asked for from inside shortly before, so that the answer is in the cache.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Warmed {
    /// A name of the cluster that exists.
    Cluster,
    /// A name that is forwarded and does not exist: the cache of denials.
    ForwardedAbsent,
    /// A name that is forwarded and exists: the cache of answers.
    ForwardedPresent,
}

/// A name of the probe zone that tells whether a resolver validates.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Trial {
    /// Well signed.
    Good,
    /// Well signed, behind aliases.
    Chain,
    /// Not there, and proven not to be.
    Absent,
    /// Unsigned, in a zone that is proven to be so.
    Insecure,
    /// With a signature that is wrong.
    Bogus,
    /// With a signature that is over.
    Expired,
    /// With a signature that is not yet valid.
    Early,
    /// Without the signature that it should have.
    Stripped,
    /// As [`Self::Bogus`], for a client that wants to validate by itself.
    Unchecked,
}

impl Trial {
    /// Every trial.
    pub const ALL: [Self; 9] = [
        Self::Good,
        Self::Chain,
        Self::Absent,
        Self::Insecure,
        Self::Bogus,
        Self::Expired,
        Self::Early,
        Self::Stripped,
        Self::Unchecked,
    ];

    /// The kind of name in the probe zone.
    #[must_use]
    pub const fn name(self) -> ZoneName {
        match self {
            Self::Good => ZoneName::Good,
            Self::Chain => ZoneName::Chain,
            Self::Absent => ZoneName::Absent,
            Self::Insecure => ZoneName::Insecure,
            Self::Bogus | Self::Unchecked => ZoneName::Bogus,
            Self::Expired => ZoneName::Expired,
            Self::Early => ZoneName::Early,
            Self::Stripped => ZoneName::Stripped,
        }
    }

    /// Who is to validate it.
    #[must_use]
    pub const fn validator(self) -> Validator {
        match self {
            Self::Unchecked => Validator::Asker,
            _ => Validator::Server,
        }
    }
}

/// What one probe is to show.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Aim {
    /// Internal clients are answered.
    InsideServed,
    /// Fills the cache for [`Aim::OutsideWarmed`].
    WarmUp(Warmed),
    /// A name nobody asked for before.
    OutsideFresh,
    /// A name whose answer is in the cache.
    OutsideWarmed(Warmed),
    /// Type ANY.
    OutsideAny,
    /// `version.bind`, class CHAOS, type TXT.
    OutsideChaos,
    /// The name with a big answer over UDP, 4096 bytes offered.
    SizeWith4096,
    /// The name with a big answer over UDP, without EDNS.
    SizeWithoutEdns,
    /// The name with a big answer over TCP, where it is complete.
    SizeOverTcp,
    /// Type ANY from a client that is served.
    InsideAny,
    /// Whether signatures are validated.
    Validation(Trial),
    /// The pod's metrics, before the series.
    Metrics,
    /// A series for names of the probe zone, which hears from which ports it is asked.
    Ports,
    /// A series for forwarded names that nobody asked for before, which the pod counts by the socket they left from.
    Upstreams,
    /// The pod's metrics, after the series.
    MetricsAfter,
}

impl Aim {
    /// From where a probe with this aim is made.
    #[must_use]
    pub const fn vantage(self) -> Vantage {
        match self {
            Self::OutsideFresh | Self::OutsideWarmed(_) | Self::OutsideAny | Self::OutsideChaos => {
                Vantage::Outside
            }
            Self::InsideServed
            | Self::WarmUp(_)
            | Self::SizeWith4096
            | Self::SizeWithoutEdns
            | Self::SizeOverTcp
            | Self::InsideAny
            | Self::Validation(_)
            | Self::Metrics
            | Self::Ports
            | Self::Upstreams
            | Self::MetricsAfter => Vantage::Inside,
        }
    }
}

/// What was asked, in words that do not change from round to round, so that a status stays as it is.
impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::InsideServed => "a cluster name",
            Self::WarmUp(Warmed::Cluster) => "the cluster name that fills the cache",
            Self::WarmUp(Warmed::ForwardedAbsent) => "the forwarded absent name that fills the cache",
            Self::WarmUp(Warmed::ForwardedPresent) => "the forwarded name that fills the cache",
            Self::OutsideFresh => "a fresh name",
            Self::OutsideWarmed(Warmed::Cluster) => "a cached cluster name",
            Self::OutsideWarmed(Warmed::ForwardedAbsent) => "a cached denial",
            Self::OutsideWarmed(Warmed::ForwardedPresent) => "a cached forwarded name",
            Self::OutsideAny | Self::InsideAny => "type ANY",
            Self::OutsideChaos => "CH TXT version.bind",
            Self::SizeWith4096 => "the big answer with EDNS 4096",
            Self::SizeWithoutEdns => "the big answer without EDNS",
            Self::SizeOverTcp => "the big answer",
            Self::Validation(Trial::Good) => "a well signed name",
            Self::Validation(Trial::Chain) => "a well signed name behind aliases",
            Self::Validation(Trial::Absent) => "a name that is proven to be absent",
            Self::Validation(Trial::Insecure) => "a name of an unsigned zone",
            Self::Validation(Trial::Bogus) => "a name with a wrong signature",
            Self::Validation(Trial::Expired) => "a name with a signature that is over",
            Self::Validation(Trial::Early) => "a name with a signature of the future",
            Self::Validation(Trial::Stripped) => "a name whose signature is missing",
            Self::Validation(Trial::Unchecked) => "a name with a wrong signature, checking disabled",
            Self::Metrics => "the metrics",
            Self::Ports => "the series for the probe zone",
            Self::Upstreams => "the series for upstreams",
            Self::MetricsAfter => "the metrics after the series",
        })
    }
}

/// Whose address is probed.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Place {
    /// A DNS pod at its own address, by its label (`namespace/name`).
    Pod(String),
    /// A way from outside to the DNS pods, by the object that opens it.
    Exposure(String),
    /// A pod of the managed resolver at its own address, by its label.
    Resolver(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(label) => write!(f, "pod {label}"),
            Self::Exposure(object) => f.write_str(object),
            Self::Resolver(label) => write!(f, "resolver {label}"),
        }
    }
}

/// Why a probe is made.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Purpose {
    /// What it is to show.
    pub aim: Aim,
    /// Of whom.
    pub place: Place,
}

/// One planned probe with its purpose.
pub type Step = (Purpose, Probe);

/// A whole round of probes, in the order in which to make them: `warm`, then `outside` while the cache is warm, then
/// `inside`, then `series`, and `after` when all of those are over.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Round {
    /// From inside, before anything else.
    pub warm: Vec<Step>,
    /// From outside, straight after `warm`.
    pub outside: Vec<Step>,
    /// From inside, at any time.
    pub inside: Vec<Step>,
    /// Series from inside, which take seconds.
    pub series: Vec<Step>,
    /// From inside, once the series are over.
    pub after: Vec<Step>,
}

impl Round {
    /// Every step, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        let early = self.warm.iter().chain(&self.outside).chain(&self.inside);
        early.chain(&self.series).chain(&self.after)
    }
}
