//! What both kinds say: the fields behind the levers of `tsutsumi_model::Lever`, with their units.

use std::num::NonZeroU32;

use k8s_openapi::serde::{Deserialize, Serialize};
use schemars::JsonSchema;

use crate::values::{Period, Size};

/// How long handshakes may take.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
pub struct Handshake {
    /// A TLS handshake, from the connection to its end, for example 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Period>,
}

/// How long a client may take.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeouts {
    /// For the head of a request, from its first byte, for example 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<Period>,
    /// For a whole request, head and body, for example 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole_request: Option<Period>,
    /// Without a request, for example 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Period>,
}

/// What one client may do.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
pub struct PerClient {
    /// How many requests it may make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
    /// How many connections it may have, for example 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<NonZeroU32>,
    /// How many bytes it may be sent per second, for example 2Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Size>,
}

/// How many requests one client may make.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
pub struct Requests {
    /// So many, for example 50.
    pub count: NonZeroU32,
    /// In this time: 1s, 1m or 1h.
    pub per: Unit,
    /// So many at once, for example 100. Absent: as the data plane has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<NonZeroU32>,
}

/// The time that requests are counted in.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde")]
pub enum Unit {
    /// A second.
    #[serde(rename = "1s")]
    Second,
    /// A minute.
    #[serde(rename = "1m")]
    Minute,
    /// An hour.
    #[serde(rename = "1h")]
    Hour,
}

/// What all clients may do together, and how large a request may be.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// How many connections a listener may have, for example 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<NonZeroU32>,
    /// The largest head of a request, for example 32Ki.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_bytes: Option<Size>,
    /// The largest body of a request, for example 10Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<Size>,
    /// How many requests one connection may carry at a time, for example 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent_streams: Option<NonZeroU32>,
}
