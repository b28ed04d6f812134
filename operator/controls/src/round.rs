//! What each probe of a verification round is for.
//!
//! The planner and the judges meet here: a judge never guesses from a name or a type why a question was asked. The
//! vantage follows from the aim, so that an answer seen from inside can never count as one seen from outside.

use std::{fmt, net::IpAddr};

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

/// What makes an answer large.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Lever {
    /// Type ANY at the probe zone's own name.
    Any,
    /// The keys of the probe zone, type DNSKEY.
    Keys,
    /// A long text of the probe zone, type TXT.
    Text,
}

impl Lever {
    /// The type that is asked for, as it is written.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Any => "ANY",
            Self::Keys => "DNSKEY",
            Self::Text => "TXT",
        }
    }
}

/// What a name asks a validating resolver about one key of the root (RFC 8509).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Sentinel {
    /// Answered only where the key is trusted.
    Is,
    /// Answered only where it is not.
    Not,
}

impl Sentinel {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Is, Self::Not];

    /// The label that asks it about the key with this tag.
    #[must_use]
    pub fn label(self, tag: u16) -> String {
        let word = match self {
            Self::Is => "is",
            Self::Not => "not",
        };
        format!("root-key-sentinel-{word}-ta-{tag:05}")
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
    /// What a question of few bytes gets, 4096 bytes and signatures wanted.
    Lever(Lever),
    /// Whether a resolver outside can be reached by a pod.
    PastClusterDns,
    /// Whether it answers at all.
    ForeignAlive,
    /// Whether signatures are validated.
    Validation(Trial),
    /// Whether the root's key with this tag is trusted.
    Sentinel(Sentinel, u16),
    /// Which keys the root has.
    RootKeys,
    /// Which servers the root has.
    RootServers,
    /// The addresses of one of them.
    RootAddresses,
    /// The pod's metrics, before the series.
    Metrics,
    /// A series for names of the probe zone, which hears from which ports it is asked.
    Ports,
    /// A series for forwarded names that nobody asked for before, which the pod counts by the socket they left from.
    Upstreams,
    /// The pod's metrics, after the series.
    MetricsAfter,
    /// A series for names of the probe zone outside, which hears from which ports it is asked after NAT.
    PortsOutside,
}

impl Aim {
    /// From where a probe with this aim is made.
    #[must_use]
    pub const fn vantage(self) -> Vantage {
        match self {
            Self::OutsideFresh
            | Self::OutsideWarmed(_)
            | Self::OutsideAny
            | Self::OutsideChaos
            | Self::ForeignAlive => Vantage::Outside,
            Self::InsideServed
            | Self::WarmUp(_)
            | Self::SizeWith4096
            | Self::SizeWithoutEdns
            | Self::SizeOverTcp
            | Self::InsideAny
            | Self::Lever(_)
            | Self::PastClusterDns
            | Self::Validation(_)
            | Self::Sentinel(..)
            | Self::RootKeys
            | Self::RootServers
            | Self::RootAddresses
            | Self::Metrics
            | Self::Ports
            | Self::Upstreams
            | Self::MetricsAfter
            | Self::PortsOutside => Vantage::Inside,
        }
    }
}

/// What was asked, in words that do not change from round to round, so that a status stays as it is.
impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sentinel(sentinel, tag) => return f.pad(&sentinel.label(*tag)),
            Self::RootKeys => "the root's keys",
            Self::RootServers => "the root's servers",
            Self::RootAddresses => "the addresses of the root's servers",
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
            Self::Lever(Lever::Any) => "type ANY with EDNS 4096 and signatures",
            Self::Lever(Lever::Keys) => "type DNSKEY with EDNS 4096",
            Self::Lever(Lever::Text) => "a long TXT with EDNS 4096",
            Self::PastClusterDns => "a question past cluster DNS",
            Self::ForeignAlive => "the same question from outside",
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
            Self::PortsOutside => "the series for the probe zone outside",
        })
    }
}

/// Whose address is probed.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Place {
    /// A DNS pod at its own address, by its label (`namespace/name`).
    Pod(String),
    /// The address at which pods ask: that of the Service in front of the DNS pods.
    Service,
    /// A way from outside to the DNS pods, by the object that opens it.
    Exposure(String),
    /// A resolver outside the cluster, which a user named.
    Foreign(IpAddr),
    /// A pod of the managed resolver at its own address, by its label.
    Resolver(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(label) => write!(f, "pod {label}"),
            Self::Service => f.write_str("the Service that pods ask"),
            Self::Exposure(object) => f.write_str(object),
            Self::Foreign(address) => write!(f, "the resolver outside at {address}"),
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
/// `inside`, then `series`, `after` when all of those are over, and at last `series_outside`.
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
    /// Series from inside for names of the zone outside: alone, so that each zone hears its own at the same rate.
    pub series_outside: Vec<Step>,
}

impl Round {
    /// Every step, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        let early = self.warm.iter().chain(&self.outside).chain(&self.inside);
        let late = self.series.iter().chain(&self.after).chain(&self.series_outside);
        early.chain(late)
    }
}
