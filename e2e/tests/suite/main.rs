//! The end-to-end suite: one module per control or behaviour, one program, one cluster. `cargo xtask test` runs it.

mod admission;
mod away;
mod by_hand;
mod canary;
mod circle;
mod crashes;
mod custom;
mod deletion;
mod dns_01;
mod dns_02;
mod dns_03;
mod dns_05;
mod dns_09;
mod dns_12;
mod edits;
mod exposure;
mod foreign;
mod idle;
mod leader;
mod lifecycle;
mod main_job;
mod managed;
mod pods;
mod pools;
mod rights;
