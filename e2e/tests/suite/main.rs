//! The end-to-end suite: one module per control or behaviour, one program, one cluster. `cargo xtask test` runs it.

mod admission;
mod main_job;
