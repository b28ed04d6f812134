//! What a prober is asked, and what it saw.
//!
//! A prober decides nothing: it opens the sockets that an [`Ask`] describes and reports what came back. Targets are
//! [`Endpoint`]s, addresses that the controller itself observed in the cluster; they are never resolved, so no name
//! that a user supplied can lead a probe inside.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use crate::{DomainName, RootAnswer, RootQuestion, Series, Tally, Vantage};

/// A port that something listens on: 1 to 65535.
pub type Port = std::num::NonZeroU16;

/// An address and port that the controller observed: a DNS pod, a Service address, a node port.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Endpoint {
    /// Where.
    pub address: IpAddr,
    /// On which port.
    pub port: Port,
}

impl Endpoint {
    /// The endpoint as the socket functions want it.
    #[must_use]
    pub fn socket(self) -> SocketAddr {
        SocketAddr::new(self.address, self.port.get())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket().fmt(f)
    }
}

/// DNS over which transport.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Transport {
    /// One datagram out, at most one in.
    Udp,
    /// One connection per question (RFC 7766).
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// The types that probes ask for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum QueryType {
    /// IPv4 address.
    A,
    /// IPv6 address.
    Aaaa,
    /// Every type (RFC 8482).
    Any,
    /// Keys of a signed zone.
    Dnskey,
    /// Text.
    Txt,
}

/// The classes that probes ask for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum QueryClass {
    /// The Internet.
    In,
    /// CHAOS, where servers tell their version.
    Ch,
}

/// One DNS question. Recursion is always desired, and NSID (RFC 5001) is requested wherever EDNS is offered.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsQuestion {
    /// Whom to ask.
    pub server: Endpoint,
    /// Over which transport.
    pub transport: Transport,
    /// The name asked for.
    pub name: DomainName,
    /// The type asked for.
    pub qtype: QueryType,
    /// The class asked for.
    pub qclass: QueryClass,
    /// The EDNS message size offered, in bytes; less than 512 counts as 512 (RFC 6891, 6.2.3), absent means no EDNS at
    /// all.
    pub edns: Option<u16>,
    /// Who is to validate, where the question is about that; needs EDNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validator: Option<Validator>,
}

impl DnsQuestion {
    /// What an ordinary client offers over EDNS, in bytes: no fragments.
    pub const ORDINARY_EDNS: u16 = 1232;

    /// As an ordinary client asks: for an IPv4 address.
    #[must_use]
    pub const fn ordinary(server: Endpoint, transport: Transport, name: DomainName) -> Self {
        Self {
            server,
            transport,
            name,
            qtype: QueryType::A,
            qclass: QueryClass::In,
            edns: Some(Self::ORDINARY_EDNS),
            validator: None,
        }
    }
}

/// Who is to validate signatures (RFC 4035, 3.2).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Validator {
    /// The server: DO and AD are set.
    Server,
    /// The asker itself: DO and CD are set, so that the server hands out what it cannot validate.
    Asker,
}

/// The metric families that a probe may read, a closed set.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricName {
    /// Label `version` tells what runs.
    CorednsBuildInfo,
    /// One sample per server block and plugin.
    CorednsPluginEnabled,
    /// How often a changed Corefile was refused.
    CorednsReloadFailedTotal,
    /// The hash of the running configuration, after the first reload.
    CorednsReloadVersionInfo,
    /// Refusals by `acl`.
    CorednsAclBlockedRequestsTotal,
    /// Questions to an upstream that left from a connection or socket used before; labels `to` and `proto`.
    CorednsProxyConnCacheHitsTotal,
    /// Questions to an upstream that left from a fresh one.
    CorednsProxyConnCacheMissesTotal,
}

impl MetricName {
    /// The whole set.
    pub const ALL: [Self; 7] = [
        Self::CorednsBuildInfo,
        Self::CorednsPluginEnabled,
        Self::CorednsReloadFailedTotal,
        Self::CorednsReloadVersionInfo,
        Self::CorednsAclBlockedRequestsTotal,
        Self::CorednsProxyConnCacheHitsTotal,
        Self::CorednsProxyConnCacheMissesTotal,
    ];

    /// The name in the exposition format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CorednsBuildInfo => "coredns_build_info",
            Self::CorednsPluginEnabled => "coredns_plugin_enabled",
            Self::CorednsReloadFailedTotal => "coredns_reload_failed_total",
            Self::CorednsReloadVersionInfo => "coredns_reload_version_info",
            Self::CorednsAclBlockedRequestsTotal => "coredns_acl_blocked_requests_total",
            Self::CorednsProxyConnCacheHitsTotal => "coredns_proxy_conn_cache_hits_total",
            Self::CorednsProxyConnCacheMissesTotal => "coredns_proxy_conn_cache_misses_total",
        }
    }
}

/// One thing to do.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Ask {
    /// Ask one question, once, without a second try.
    Dns(DnsQuestion),
    /// Fetch `/metrics` and return the families of [`MetricName`].
    Metrics(Endpoint),
    /// Ask one question about the root, and read the answer.
    Root(RootQuestion),
    /// Ask many questions, to see at a probe zone how the server asks on.
    Series(Series),
}

/// An [`Ask`] with the number by which its observation comes back.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Probe {
    /// Chosen by the asker, unique within a batch.
    pub id: u32,
    /// What to do.
    pub ask: Ask,
}

/// A response code, as the number of the registry (RFC 6895), extended bits included.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Rcode(pub u16);

impl Rcode {
    /// The question was answered.
    pub const NOERROR: Self = Self(0);
    /// The name does not exist.
    pub const NXDOMAIN: Self = Self(3);
    /// The server will not answer this client.
    pub const REFUSED: Self = Self(5);
    /// The server failed.
    pub const SERVFAIL: Self = Self(2);
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NOERROR => f.pad("NOERROR"),
            Self::SERVFAIL => f.pad("SERVFAIL"),
            Self::NXDOMAIN => f.pad("NXDOMAIN"),
            Self::REFUSED => f.pad("REFUSED"),
            Self(other) => write!(f, "RCODE{other}"),
        }
    }
}

/// A DNS message that answers the question: id, name, type and class matched.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsAnswer {
    /// Its response code.
    pub rcode: Rcode,
    /// The TC bit.
    pub truncated: bool,
    /// The AD bit: the server has validated all that the answer says (RFC 4035, 3.2.3).
    #[serde(default)]
    pub authentic: bool,
    /// The size of the query that was sent, in bytes of DNS message.
    pub query_bytes: u32,
    /// The size of the answer on the wire, in bytes of DNS message (without the TCP length).
    pub answer_bytes: u32,
    /// Records in the answer section.
    pub answers: u16,
    /// The addresses that the answer section holds, where addresses were asked for: at most [`Self::MOST_ADDRESSES`], in
    /// the order in which they came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// What the server calls itself (RFC 5001), where it is printable ASCII; anything else comes as hexadecimal. At most
    /// the first 128 octets of it. An empty option is none.
    pub nsid: Option<String>,
    /// The codes of extended errors (RFC 8914), at most the first 16.
    pub extended_errors: Vec<u16>,
}

impl DnsAnswer {
    /// The most addresses that are kept of one answer.
    pub const MOST_ADDRESSES: usize = 16;
}

/// One sample of a metric.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct MetricSample {
    /// The family.
    pub name: MetricName,
    /// Its labels, sorted.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// Why there is no answer, from a closed set: never the text of an error, which could carry foreign bytes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Failure {
    /// The peer took the connection and ended it without an answer.
    Closed,
    /// The peer, or something on the path, said that nobody listens.
    ConnectionRefused,
    /// What came back was not an answer to the question.
    Malformed,
    /// The egress rules do not let a probe go there.
    NotPermitted,
    /// Nothing came back, though the whole time was waited: over TCP, not even the connection.
    Timeout,
    /// The peer took the connection and then stayed silent, though the whole time was waited. Unlike [`Self::Timeout`]
    /// this shows that the target was reached.
    Unanswered,
    /// The batch ran out of time, so the target was not asked, or not waited for: this says nothing about it and must
    /// never be read as silence.
    Unfinished,
    /// No route, or another error of the network or of the prober's own host: no evidence about the target either.
    Unreachable,
}

/// What was seen.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Saw {
    /// A DNS answer.
    Answer(DnsAnswer),
    /// The selected metrics.
    Metrics(Vec<MetricSample>),
    /// What was answered about the root.
    Root(RootAnswer),
    /// What came back of a series.
    Series(Tally),
    /// Nothing, and why.
    Nothing(Failure),
}

/// One probe with what came of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Observation {
    /// The probe, whole.
    pub probe: Probe,
    /// From where.
    pub vantage: Vantage,
    /// What was seen.
    pub saw: Saw,
    /// How long it took, in milliseconds.
    pub millis: u32,
}
