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

/// In the order of the file.
pub const SERVER: &[Row] = &[
    Row {
        key: Key::DoDaemonize,
        reason: "the container's first process stays in the foreground",
        values: |_| yes_no(false),
    },
    Row {
        key: Key::Username,
        reason: "runs as the container's user, which is not root",
        values: |_| text(""),
    },
    Row {
        key: Key::Chroot,
        reason: "the container's root is one already",
        values: |_| text(""),
    },
    Row {
        key: Key::Directory,
        reason: "the only place that may be written",
        values: |p| path(&p.run_directory, ""),
    },
    Row {
        key: Key::Pidfile,
        reason: "nobody reads one",
        values: |_| text(""),
    },
    Row {
        key: Key::UseSyslog,
        reason: "there is no syslog in a container",
        values: |_| yes_no(false),
    },
    Row {
        key: Key::Logfile,
        reason: "standard error",
        values: |_| text(""),
    },
    Row {
        key: Key::LogTimeAscii,
        reason: "readable times",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::NumThreads,
        reason: "one for each core that the container has",
        values: |p| number(u64::from(p.threads.get())),
    },
    Row {
        key: Key::Interface,
        reason: "ports above 1023 need no capability; the Service maps them",
        values: |p| p.interfaces(),
    },
    Row {
        key: Key::Port,
        reason: "the port of what has none of its own",
        values: |p| number(u64::from(p.dns_port.get())),
    },
    Row {
        key: Key::TlsPort,
        reason: "the hop from CoreDNS",
        values: |p| p.with_tls(|_| Value::Number(u64::from(p.tls_port.get()))),
    },
    Row {
        key: Key::TlsServiceKey,
        reason: "the hop from CoreDNS",
        values: |p| p.with_tls(|tls| Value::Text(tls.key.clone())),
    },
    Row {
        key: Key::TlsServicePem,
        reason: "the hop from CoreDNS",
        values: |p| p.with_tls(|tls| Value::Text(tls.certificate.clone())),
    },
    Row {
        key: Key::TlsCertBundle,
        reason: "who may sign upstream certificates",
        values: |p| p.authorities.iter().cloned().map(Value::Text).collect(),
    },
    Row {
        key: Key::DoIp4,
        reason: "only families that the cluster has",
        values: |p| yes_no(p.families != Families::V6),
    },
    Row {
        key: Key::DoIp6,
        reason: "only families that the cluster has",
        values: |p| yes_no(p.families != Families::V4),
    },
    Row {
        key: Key::AccessControl,
        reason: "only CoreDNS may ask; the most specific network wins",
        values: |p| p.access(),
    },
    Row {
        key: Key::MaxUdpSize,
        reason: "answers that never need fragments",
        values: |p| number(u64::from(p.max_message_bytes.bytes())),
    },
    Row {
        key: Key::EdnsBufferSize,
        reason: "the same for answers to our own queries",
        values: |p| number(u64::from(p.max_message_bytes.bytes())),
    },
    Row {
        key: Key::OutgoingPortPermit,
        reason: "all ports that need no right",
        values: |_| vec![Value::Ports(1024, 65535)],
    },
    Row {
        key: Key::OutgoingPortAvoid,
        reason: "ports that are listened on",
        values: |p| p.avoided(),
    },
    Row {
        key: Key::OutgoingRange,
        reason: "sockets of each thread, twice the queries",
        values: |_| number(8192),
    },
    Row {
        key: Key::NumQueriesPerThread,
        reason: "half of the sockets",
        values: |_| number(4096),
    },
    Row {
        key: Key::SoReuseport,
        reason: "even load of threads",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::UseCapsForId,
        reason: "letters' case is more to guess (0x20)",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::QnameMinimisation,
        reason: "servers learn only what they need (RFC 9156)",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::QnameMinimisationStrict,
        reason: "would break names behind faulty servers",
        values: |_| yes_no(false),
    },
    Row {
        key: Key::AggressiveNsec,
        reason: "random names die in the cache (RFC 8198)",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::HardenGlue,
        reason: "trust glue only inside its zone",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::HardenDnssecStripped,
        reason: "missing signatures are bogus",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::HardenBelowNxdomain,
        reason: "nothing exists below a name that does not (RFC 8020)",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::HardenShortBufsize,
        reason: "ignore very small EDNS sizes",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::HardenLargeQueries,
        reason: "ignore very large queries",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::HardenUnverifiedGlue,
        reason: "ask for addresses that only glue has told",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::HardenUnknownAdditional,
        reason: "drop additional records of unknown types",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::HardenReferralPath,
        reason: "experimental, and many more queries",
        values: |_| yes_no(false),
    },
    Row {
        key: Key::HardenAlgoDowngrade,
        reason: "violates RFC 6840",
        values: |_| yes_no(false),
    },
    Row {
        key: Key::IterScrubPromiscuous,
        reason: "drop NS records that nobody asked for",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::IterScrubNs,
        reason: "NS records that are kept",
        values: |_| number(20),
    },
    Row {
        key: Key::IterScrubCname,
        reason: "CNAME records that are kept",
        values: |_| number(11),
    },
    Row {
        key: Key::IterScrubRrsig,
        reason: "signatures that are kept",
        values: |_| number(8),
    },
    Row {
        key: Key::MaxGlobalQuota,
        reason: "upstream queries for one client's query",
        values: |_| number(200),
    },
    Row {
        key: Key::MaxSentCount,
        reason: "upstream queries for one name",
        values: |_| number(32),
    },
    Row {
        key: Key::MaxQueryRestarts,
        reason: "steps of a CNAME chain",
        values: |_| number(11),
    },
    Row {
        key: Key::UnwantedReplyThreshold,
        reason: "was a side channel three times in 2026",
        values: |_| number(0),
    },
    Row {
        key: Key::DoNotQueryLocalhost,
        reason: "no server of a zone is on loopback",
        values: |p| yes_no(!p.loopback_servers),
    },
    Row {
        key: Key::PrivateAddress,
        reason: "answers from outside must not point inside",
        values: |_| private(),
    },
    Row {
        key: Key::PrivateDomain,
        reason: "zones that do point inside",
        values: |p| {
            p.private_domains
                .iter()
                .map(|name| Value::Zone(name.clone().into()))
                .collect()
        },
    },
    Row {
        key: Key::LocalZone,
        reason: "built-in empty zones must not hide carried ones",
        values: |p| p.carried().map(Value::Transparent).collect(),
    },
    Row {
        key: Key::DomainInsecure,
        reason: "internal zones that the root's signatures do not cover",
        values: |p| p.unsigned(),
    },
    Row {
        key: Key::ModuleConfig,
        reason: "the validator comes first",
        values: |p| {
            text(if p.validates() {
                "validator iterator"
            } else {
                "iterator"
            })
        },
    },
    Row {
        key: Key::TrustAnchorFile,
        reason: "both root keys, renewed by the operator",
        values: |p| {
            if p.validates() {
                path(&p.config_directory, "/root.key")
            } else {
                Vec::new()
            }
        },
    },
    Row {
        key: Key::TrustAnchor,
        reason: "keys of carried zones",
        values: |p| p.anchors(),
    },
    Row {
        key: Key::ValPermissiveMode,
        reason: "bogus answers are refused",
        values: |_| yes_no(false),
    },
    Row {
        key: Key::IgnoreCdFlag,
        reason: "no client switches validation off",
        values: |p| yes_no(p.validation == Validation::Required),
    },
    Row {
        key: Key::ValCleanAdditional,
        reason: "drop what was not proven",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::TrustAnchorSignaling,
        reason: "tell the root which keys are trusted (RFC 8145)",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::RootKeySentinel,
        reason: "lets a client test the keys (RFC 8509)",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::RootHints,
        reason: "compared with the root's own answer",
        values: |p| path(&p.config_directory, "/named.root"),
    },
    Row {
        key: Key::Prefetch,
        reason: "popular names never expire for clients",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::PrefetchKey,
        reason: "keys are there when they are needed",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::MinimalResponses,
        reason: "small answers amplify little",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::HideIdentity,
        reason: "no CHAOS answers",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::HideVersion,
        reason: "no CHAOS answers",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::DenyAny,
        reason: "ANY amplifies (RFC 8482)",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::ServeExpired,
        reason: "old answers while servers are down (RFC 8767)",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::ServeExpiredTtl,
        reason: "for a day, in seconds",
        values: |_| number(86400),
    },
    Row {
        key: Key::ServeExpiredClientTimeout,
        reason: "after trying this many milliseconds",
        values: |_| number(1800),
    },
    Row {
        key: Key::Ratelimit,
        reason: "queries per second to one zone, against floods of random names",
        values: |p| number(p.zone_rate_limit.map_or(0, |limit| u64::from(limit.get()))),
    },
    Row {
        key: Key::RatelimitFactor,
        reason: "one in so many still passes",
        values: |_| number(10),
    },
    Row {
        key: Key::RatelimitBackoff,
        reason: "a limit is no outage",
        values: |_| yes_no(false),
    },
    Row {
        key: Key::IpRatelimit,
        reason: "every client is CoreDNS",
        values: |_| number(0),
    },
    Row {
        key: Key::WaitLimit,
        reason: "waiting queries of one address",
        values: |_| number(1000),
    },
    Row {
        key: Key::WaitLimitNetblock,
        reason: "CoreDNS asks for everybody",
        values: |p| p.clients.iter().map(|net| Value::NetLimit(*net, -1)).collect(),
    },
    Row {
        key: Key::DiscardTimeout,
        reason: "milliseconds after which nobody waits any more",
        values: |_| number(1900),
    },
    Row {
        key: Key::JostleTimeout,
        reason: "milliseconds after which a full list drops slow queries",
        values: |_| number(200),
    },
    Row {
        key: Key::NegCacheSize,
        reason: "bytes for proofs of absence",
        values: |_| number(4 << 20),
    },
    Row {
        key: Key::Ede,
        reason: "clients learn why (RFC 8914)",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::ValLogLevel,
        reason: "say which name failed and why",
        values: |_| number(2),
    },
    Row {
        key: Key::Nsid,
        reason: "tells which text a pod runs (RFC 5001)",
        values: |p| text(&format!("ascii_{}", p.identity)),
    },
    Row {
        key: Key::ExtendedStatistics,
        reason: "the metrics",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::StatisticsCumulative,
        reason: "counters must not fall",
        values: |_| yes_no(true),
    },
    Row {
        key: Key::AnswerCookie,
        reason: "RFC 7873",
        values: |_| yes_no(true),
    },
];
