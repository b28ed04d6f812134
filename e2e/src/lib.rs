//! The harness of the end-to-end suite: a real cluster with real CoreDNS, seen as its users and its attackers see it.
//!
//! The suite judges with means of its own: it opens its own sockets, inside and outside the cluster, and never uses the
//! operator's prober or its reading of a Corefile. A test waits for levels, with a deadline, and never for a time; it
//! begins from the same cluster DNS whatever the one before it left ([`scenario`]). One cluster, one test at a time.

pub mod between;
pub mod cluster;
pub mod controller;
pub mod corefile;
pub mod dns;
pub mod faults;
pub mod filter;
pub mod install;
pub mod nat;
pub mod outside;
pub mod overheard;
pub mod perimeter;
pub mod place;
pub mod platform;
pub mod policy;
pub mod ports;
pub mod process;
pub mod resolver;
pub mod rig;
pub mod root;
pub mod scenario;
pub mod signed;
pub mod steady;
pub mod unbound;
pub mod wait;
