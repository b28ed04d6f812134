//! The vocabulary that every part of tsutsumi shares.
//!
//! Names, controls and verdicts, and the two halves of a probe: what is asked and what was seen. Nothing here
//! reads a clock, opens a socket or knows Kubernetes, so every other crate may use it.

mod arrival;
mod asked;
mod control;
mod fact;
mod limits;
mod mark;
mod name;
mod probe;
mod root;
mod series;
mod verdict;

pub use arrival::{Arrival, Arrivals, Asker, Heard};
pub use asked::{AskedName, Collect, Collected};
pub use control::{ControlId, ControlState, UnknownControl, Vantage};
pub use fact::{Bypass, ClientAddress, Closing, Closure, Detour, Exposure, Reach};
pub use limits::{
    Bytes, BytesPerSecond, Combine, Count, Lever, Limit, Limits, Map, Per, Rate, Scope, Seconds,
};
pub use mark::{INSECURE_ZONE, Mark, MarkError, MarkKey, MarkKeyError, ZoneName};
pub use name::{DomainName, NameError};
pub use probe::{
    Ask, DnsAnswer, DnsQuestion, Endpoint, Failure, MetricName, MetricSample, Observation, Port, Probe,
    QueryClass, QueryType, Rcode, Saw, Transport, Validator,
};
pub use root::{RootAnswer, RootKey, RootQuestion, RootRecord, RootWanted, key_tag};
pub use series::{Series, Tally};
pub use verdict::{Evidence, Verdict};
