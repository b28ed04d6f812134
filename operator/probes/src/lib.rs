//! The prober: asks typed targets over DNS and HTTP and returns what it saw.
//!
//! It decides nothing. Every socket towards a target is opened through one [`Egress`], which knows addresses and no
//! names; every wait, buffer and batch is bounded; decoding is pure. The controller reaches a prober over mutual TLS
//! ([`ProberClient`], [`serve`]) or runs the same batches in its own process ([`run`]).

mod address;
mod call;
mod client;
mod dns;
mod egress;
mod http;
mod metrics;
mod names;
mod run;
mod series;
mod server;
mod serving;
mod tls;

pub use address::Denied;
pub use call::{CallError, Caller, Limits};
pub use client::{ProberClient, ProberError};
pub use egress::{Egress, MAX_PATIENCE, Pass, Rules};
pub use names::{Told, told};
pub use run::{BATCH_DEADLINE, Batch, BatchError, MAX_METRICS, MAX_PROBES, MAX_SERIES, run};
pub use server::{Prober, serve};
pub use serving::{Lack, Ports, accept, serve_plain, serve_router};
pub use tls::{CA_FILE, CERT_FILE, Credentials, KEY_FILE, PemParts, Role, TlsError, client_config};
