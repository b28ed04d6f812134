//! Reads and edits the configuration of other programs.
//!
//! Everything here is a function from text and wishes to text: no file, clock, network or environment variable
//! is touched. Foreign bytes stay as they are, and only validated values are printed.

pub mod coredns;
pub mod envoy_gateway;
mod release;
pub mod unbound;
