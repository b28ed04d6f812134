//! The fault suite: one module for each way in which an API server fails its clients. `cargo xtask faults` runs it.

mod errors;
mod let_go;
mod lost_reply;
mod none;
mod roll_back;
mod stale;
mod watches;
