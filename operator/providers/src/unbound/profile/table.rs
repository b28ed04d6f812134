//! Every option of the `server` clause: its value and why. What a reader of the documents sees comes from here too.

use super::{Families, Profile, Validation, number, path, private, text, yes_no};
use crate::unbound::config::{Key, Value};

/// One option.
pub struct Row {
    /// Which.
    pub key: Key,
    /// Why it is set so.
    pub reason: &'static str,
    pub(super) values: fn(&Profile) -> Vec<Value>,
}

/// Connections at once, for each thread and each address that is listened on.
const CONNECTIONS: u64 = 512;

const fn row(key: Key, reason: &'static str, values: fn(&Profile) -> Vec<Value>) -> Row {
    Row { key, reason, values }
}

/// In the order of the file.
pub const SERVER: &[Row] = &[
    row(
        Key::DoDaemonize,
        "the container's first process stays in the foreground",
        |_| yes_no(false),
    ),
    row(
        Key::Username,
        "runs as the container's user, which is not root",
        |_| text(""),
    ),
    row(Key::Chroot, "the container's root is one already", |_| text("")),
    row(Key::Directory, "the only place that may be written", |p| {
        path(&p.run_directory, "")
    }),
    row(Key::Pidfile, "nobody reads one", |_| text("")),
    row(Key::UseSyslog, "there is no syslog in a container", |_| {
        yes_no(false)
    }),
    row(Key::Logfile, "standard error", |_| text("")),
    row(Key::LogTimeAscii, "readable times", |_| yes_no(true)),
    row(Key::NumThreads, "one for each core that the container has", |p| {
        number(u64::from(p.threads.get()))
    }),
    row(
        Key::Interface,
        "ports above 1023 need no capability; the Service maps them",
        Profile::interfaces,
    ),
    row(Key::Port, "the port of what has none of its own", |p| {
        number(u64::from(p.dns_port.get()))
    }),
    row(Key::TlsPort, "the hop from CoreDNS", |p| {
        p.with_tls(|_| Value::Number(u64::from(p.tls_port.get())))
    }),
    row(Key::TlsServiceKey, "the hop from CoreDNS", |p| {
        p.with_tls(|tls| Value::Text(tls.key.clone()))
    }),
    row(Key::TlsServicePem, "the hop from CoreDNS", |p| {
        p.with_tls(|tls| Value::Text(tls.certificate.clone()))
    }),
    row(
        Key::IncomingNumTcp,
        "CoreDNS has a connection of its own for each question that is under way; the default of 10 would make them wait",
        |p| p.with_tls(|_| Value::Number(CONNECTIONS)),
    ),
    row(Key::TlsCertBundle, "who may sign upstream certificates", |p| {
        p.authorities.iter().cloned().map(Value::Text).collect()
    }),
    row(Key::DoIp4, "only families that the cluster has", |p| {
        yes_no(p.families != Families::V6)
    }),
    row(Key::DoIp6, "only families that the cluster has", |p| {
        yes_no(p.families != Families::V4)
    }),
    row(
        Key::AccessControl,
        "only CoreDNS may ask; the most specific network wins",
        Profile::access,
    ),
    row(Key::MaxUdpSize, "answers that never need fragments", |p| {
        number(u64::from(p.max_message_bytes.bytes()))
    }),
    row(
        Key::EdnsBufferSize,
        "the same for answers to our own queries",
        |p| number(u64::from(p.max_message_bytes.bytes())),
    ),
    row(Key::OutgoingPortPermit, "all ports that need no right", |_| {
        vec![Value::Ports(1024, 65535)]
    }),
    row(Key::OutgoingPortAvoid, "ports that are listened on", |p| {
        p.avoided()
    }),
    row(
        Key::OutgoingRange,
        "sockets of each thread, twice the queries",
        |_| number(8192),
    ),
    row(Key::NumQueriesPerThread, "half of the sockets", |_| number(4096)),
    row(Key::SoReuseport, "even load of threads", |_| yes_no(true)),
    row(Key::UseCapsForId, "letters' case is more to guess (0x20)", |_| {
        yes_no(true)
    }),
    row(
        Key::QnameMinimisation,
        "servers learn only what they need (RFC 9156)",
        |_| yes_no(true),
    ),
    row(
        Key::QnameMinimisationStrict,
        "would break names behind faulty servers",
        |_| yes_no(false),
    ),
    row(
        Key::AggressiveNsec,
        "random names die in the cache (RFC 8198)",
        |_| yes_no(true),
    ),
    row(Key::HardenGlue, "trust glue only inside its zone", |_| {
        yes_no(true)
    }),
    row(Key::HardenDnssecStripped, "missing signatures are bogus", |_| {
        yes_no(true)
    }),
    row(
        Key::HardenBelowNxdomain,
        "nothing exists below a name that does not (RFC 8020)",
        |_| yes_no(true),
    ),
    row(Key::HardenShortBufsize, "ignore very small EDNS sizes", |_| {
        yes_no(true)
    }),
    row(Key::HardenLargeQueries, "ignore very large queries", |_| {
        yes_no(true)
    }),
    row(
        Key::HardenUnverifiedGlue,
        "ask for addresses that only glue has told",
        |_| yes_no(true),
    ),
    row(
        Key::HardenUnknownAdditional,
        "drop additional records of unknown types",
        |_| yes_no(true),
    ),
    row(
        Key::HardenReferralPath,
        "experimental, and many more queries",
        |_| yes_no(false),
    ),
    row(Key::HardenAlgoDowngrade, "violates RFC 6840", |_| yes_no(false)),
    row(
        Key::IterScrubPromiscuous,
        "drop NS records that nobody asked for",
        |_| yes_no(true),
    ),
    row(Key::IterScrubNs, "NS records that are kept", |_| number(20)),
    row(Key::IterScrubCname, "CNAME records that are kept", |_| number(11)),
    row(Key::IterScrubRrsig, "signatures that are kept", |_| number(8)),
    row(
        Key::MaxGlobalQuota,
        "upstream queries for one client's query",
        |_| number(200),
    ),
    row(Key::MaxSentCount, "upstream queries for one name", |_| number(32)),
    row(Key::MaxQueryRestarts, "steps of a CNAME chain", |_| number(11)),
    row(
        Key::UnwantedReplyThreshold,
        "was a side channel three times in 2026",
        |_| number(0),
    ),
    row(
        Key::DoNotQueryLocalhost,
        "no server of a zone is on loopback",
        |p| yes_no(!p.loopback_servers),
    ),
    row(
        Key::PrivateAddress,
        "answers from outside must not point inside",
        |_| private(),
    ),
    row(Key::PrivateDomain, "zones that do point inside", |p| {
        p.private_domains
            .iter()
            .map(|name| Value::Zone(name.clone().into()))
            .collect()
    }),
    row(
        Key::LocalZone,
        "built-in empty zones must not hide carried ones",
        |p| p.carried().map(Value::Transparent).collect(),
    ),
    row(
        Key::DomainInsecure,
        "internal zones that the root's signatures do not cover",
        Profile::unsigned,
    ),
    row(Key::ModuleConfig, "the validator comes first", |p| {
        text(if p.validates() {
            "validator iterator"
        } else {
            "iterator"
        })
    }),
    row(
        Key::TrustAnchorFile,
        "both root keys, renewed by the operator",
        |p| {
            if p.validates() {
                path(&p.config_directory, "/root.key")
            } else {
                Vec::new()
            }
        },
    ),
    row(Key::TrustAnchor, "keys of carried zones", Profile::anchors),
    row(Key::ValPermissiveMode, "bogus answers are refused", |_| {
        yes_no(false)
    }),
    row(Key::IgnoreCdFlag, "no client switches validation off", |p| {
        yes_no(p.validation == Validation::Required)
    }),
    row(Key::ValCleanAdditional, "drop what was not proven", |_| {
        yes_no(true)
    }),
    row(
        Key::TrustAnchorSignaling,
        "tell the root which keys are trusted (RFC 8145)",
        |_| yes_no(true),
    ),
    row(
        Key::RootKeySentinel,
        "lets a client test the keys (RFC 8509)",
        |_| yes_no(true),
    ),
    row(Key::RootHints, "compared with the root's own answer", |p| {
        path(&p.config_directory, "/named.root")
    }),
    row(Key::Prefetch, "popular names never expire for clients", |_| {
        yes_no(true)
    }),
    row(Key::PrefetchKey, "keys are there when they are needed", |_| {
        yes_no(true)
    }),
    row(Key::MinimalResponses, "small answers amplify little", |_| {
        yes_no(true)
    }),
    row(Key::HideIdentity, "no CHAOS answers", |_| yes_no(true)),
    row(Key::HideVersion, "no CHAOS answers", |_| yes_no(true)),
    row(Key::DenyAny, "ANY amplifies (RFC 8482)", |_| yes_no(true)),
    row(
        Key::ServeExpired,
        "old answers while servers are down (RFC 8767)",
        |_| yes_no(true),
    ),
    row(Key::ServeExpiredTtl, "for a day, in seconds", |_| number(86400)),
    row(
        Key::ServeExpiredClientTimeout,
        "after trying this many milliseconds",
        |_| number(1800),
    ),
    row(
        Key::Ratelimit,
        "queries per second to one zone, against floods of random names",
        |p| number(p.zone_rate_limit.map_or(0, |limit| u64::from(limit.get()))),
    ),
    row(Key::RatelimitFactor, "one in so many still passes", |_| {
        number(10)
    }),
    row(Key::RatelimitBackoff, "a limit is no outage", |_| yes_no(false)),
    row(Key::IpRatelimit, "every client is CoreDNS", |_| number(0)),
    row(Key::WaitLimit, "waiting queries of one address", |_| number(1000)),
    row(Key::WaitLimitNetblock, "CoreDNS asks for everybody", |p| {
        p.clients.iter().map(|net| Value::NetLimit(*net, -1)).collect()
    }),
    row(
        Key::DiscardTimeout,
        "milliseconds after which nobody waits any more",
        |_| number(1900),
    ),
    row(
        Key::JostleTimeout,
        "milliseconds after which a full list drops slow queries",
        |_| number(200),
    ),
    row(Key::NegCacheSize, "bytes for proofs of absence", |_| {
        number(4 << 20)
    }),
    row(Key::Ede, "clients learn why (RFC 8914)", |_| yes_no(true)),
    row(Key::ValLogLevel, "say which name failed and why", |_| number(2)),
    row(Key::Nsid, "tells which text a pod runs (RFC 5001)", |p| {
        text(&format!("ascii_{}", p.identity))
    }),
    row(Key::ExtendedStatistics, "the metrics", |_| yes_no(true)),
    row(Key::StatisticsCumulative, "counters must not fall", |_| {
        yes_no(true)
    }),
    row(Key::AnswerCookie, "RFC 7873", |_| yes_no(true)),
];
