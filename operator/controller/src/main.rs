//! The binary `tsutsumi`: `controller` keeps policies true, `prober` asks the questions that prove it, `probe-zone`
//! records how resolvers ask, `unbound-metrics` stands beside Unbound and tells its numbers; `healthcheck` and `release`
//! are steps of the chart, for an image without a shell.
//!
//! Nothing is decided here: the TLS provider is installed first, so that no dependency can pick another one, then
//! arguments are read, logging starts and the chosen part runs until it is told to stop.

use std::process::ExitCode;

use clap::Parser;

use crate::runtime::{
    args::{Args, Command},
    controller, healthcheck, logging, probe_zone, prober, release, unbound_metrics,
};

mod resolver_policy;
mod runtime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // An error here means that a provider is installed already, which is what we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args = Args::parse().checked();
    let level = match logging::init(args.log.format, &args.log.filter) {
        Ok(level) => level,
        Err(problem) => return failed(&problem),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(problem) => return failed(&problem),
    };
    let outcome = match args.command {
        Command::Controller(args) => runtime
            .block_on(controller::run(*args, level))
            .map_err(Into::into),
        Command::Prober(args) => runtime.block_on(prober::run(args)).map_err(Into::into),
        Command::ProbeZone(args) => runtime.block_on(probe_zone::run(args)).map_err(Into::into),
        Command::UnboundMetrics(args) => runtime.block_on(unbound_metrics::run(args)).map_err(Into::into),
        Command::Healthcheck(args) => runtime.block_on(healthcheck::run(args)).map_err(Into::into),
        Command::Release(args) => runtime.block_on(release::run(args)).map_err(Into::into),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err::<(), Box<dyn std::error::Error>>(problem) => failed(problem.as_ref()),
    }
}

/// Two threads are plenty for what waits most of the time; each more would keep memory of its own.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(2))
}

/// Says why the process ends: plain, since logging may be what failed.
fn failed(problem: &(dyn std::error::Error + 'static)) -> ExitCode {
    eprintln!("tsutsumi: {}", logging::Chain(problem));
    ExitCode::FAILURE
}
