//! The controller under faults of its API server: hundreds of changes, each with one fault at one call.
//!
//! The store, the API server, CoreDNS, the prober and the controller are the real programs. Between the controller and
//! the API server stands a [`proxy`] that can spoil any call; in place of kubelet and the workload controllers stands
//! [`node`], because a real kubelet takes ten times as long. What is judged is where a change ends ([`outcome::End`]),
//! beside a change without a fault.

pub mod call;
pub mod fault;
pub mod network;
pub mod node;
pub mod outcome;
pub mod prober;
pub mod proxy;
pub mod stage;
pub mod stream;
pub mod world;
