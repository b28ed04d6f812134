//! Unbound: its configuration file as a typed tree, the hardened profile, and the data that a resolver needs.
//!
//! [`profile`] turns a small set of wishes into a [`config`] tree; [`parse`] reads what was printed, and nothing is
//! handed on unless both are the same. [`anchors`] and [`hints`] are the root's keys and servers, as data and as
//! files of a user. [`stats`] reads what a running one counts. [`version`] knows the published holes.

pub mod anchors;
pub mod config;
pub mod hints;
pub mod parse;
pub mod profile;
pub mod stats;
pub mod version;
