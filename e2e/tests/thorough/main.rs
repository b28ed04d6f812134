//! What takes too long for every run: one module per theme, on the same cluster as the suite. `cargo xtask test --all` runs
//! it.

mod alarms;
mod asked;
mod crashes;
mod dns_12;
mod exposure;
mod hop;
mod managed;
mod many;
mod pools;
mod ports;
mod resolvers;
mod upstreams;
