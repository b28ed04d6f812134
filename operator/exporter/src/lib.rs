//! Unbound's numbers as Prometheus metrics: a side process that asks its control socket and serves what it answered.
//!
//! One scrape is one question, and scrapes that come while one is under way share its answer. A question has a
//! deadline and its answer a longest size; what did not come is told as `up 0`, and no number is ever shown twice.
//! The socket can command Unbound, so only one command is ever written to it.

mod metrics;
#[cfg(test)]
mod reference;
mod scrape;
mod server;
mod socket;

pub use server::{Exporter, serve};
pub use socket::{NotASocketPath, SocketPath};
