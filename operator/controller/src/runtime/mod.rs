//! What every controller of this process stands on: arguments, logs, metrics, the API server, the lease, certificates.
//!
//! Nothing here knows what a policy says. Whatever changes the cluster goes through [`writer`], except that [`release`]
//! has no lease to hold: it begins by stopping whoever could hold it.

pub(crate) mod admin;
pub(crate) mod args;
pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod controller;
pub(crate) mod diagnostics;
pub(crate) mod events;
pub(crate) mod healthcheck;
pub(crate) mod lease;
pub(crate) mod logging;
pub(crate) mod metrics;
pub(crate) mod outside_zone;
pub(crate) mod probe_zone;
pub(crate) mod prober;
pub(crate) mod release;
pub(crate) mod shutdown;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod unbound_metrics;
pub(crate) mod writer;
