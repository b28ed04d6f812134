//! CoreDNS: the Corefile, typed views of the plugins that matter here, and the hardening.
//!
//! [`corefile`] knows the grammar and nothing about plugins. [`acl`], [`bufsize`], [`forward`] and [`nsid`] read
//! what one plugin would make of a server block, [`hop`] who is asked over TLS. [`harden()`] writes the policy into every server block,
//! [`custom`] into the file that a platform lets us add.

pub mod acl;
mod addresses;
pub mod bufsize;
pub mod corefile;
pub mod custom;
pub mod forward;
mod harden;
pub mod hop;
pub mod nsid;
pub mod version;

pub use addresses::AddressSet;
pub use harden::*;
