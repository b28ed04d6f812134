//! The probe zone: an authoritative server for one private signed zone that records how resolvers ask.
//!
//! It judges nothing and knows nothing of clusters. What is read from the network is bounded before it is decoded, all
//! that is remembered has a bound, and nothing is sent to whom it does not serve. The sockets are driven here, since
//! hickory-server answers before a handler sees who asks, and bounds neither its tasks nor its connections; messages
//! are read and written by hickory-proto. What arrived is told to the controller alone, over mutual TLS.

mod answer;
mod apex;
mod arrivals;
mod client;
mod control;
mod deny;
mod keys;
mod limit;
mod place;
mod query;
mod reply;
mod server;
mod sign;
mod tcp;
mod udp;

pub use answer::{Answer, Asked, Noted, Zone, ZoneError};
pub use apex::{Apex, ApexError};
pub use arrivals::MAX_SAMPLES;
pub use client::{ClientError, ZoneClient};
pub use keys::{KeyDir, KeyError, Keys, MARK_KEY, ZONE_KEY, ZoneKey, ds};
pub use query::{Offer, Query, Unanswerable};
pub use reply::{LARGEST_DATAGRAM, datagram_limit, encode};
pub use server::{ProbeZone, serve};
