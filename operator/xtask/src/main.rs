//! The project's own tool: `cargo xtask <command>` builds, generates, brings up the rig and runs everything CI
//! runs. Each command says step by step what it did and how long it took.
#![allow(
    clippy::print_stdout,
    reason = "printing progress is what this program is for"
)]

mod bench;
mod chart;
mod cluster;
mod control_plane;
#[cfg(test)]
mod crate_table;
mod demo;
mod dns;
#[cfg(test)]
mod docs;
mod faults;
mod fuzz;
mod generate;
mod image;
mod rig;
mod run;
mod test;
mod tools;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Everything around building and testing tsutsumi
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Command {
    /// Measure the controller beside an operator that does nothing
    Bench(bench::Options),
    /// Render the chart and judge what comes out: rights, pods, flows, refused values
    Chart,
    /// A real cluster on this machine
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// Show the main job from nothing on a real cluster
    Demo(demo::Options),
    /// Run the controller under faults of its API server
    Faults(faults::Options),
    /// Run each fuzz target for a minute
    Fuzz,
    /// Write the files that are made from code
    Generate {
        /// Write nothing; fail where a file has drifted
        #[arg(long)]
        check: bool,
    },
    /// Build the operator's image, and load it into the rig where one is up
    Image,
    /// Ask a DNS server one question
    Query(dns::Question),
    /// Run everything that CI runs
    Test(test::Options),
    /// Build or find every program that the rig and its suite run
    Tools {
        /// Only this one of Debian's, and print the folder that it is unpacked into
        peer: Option<tools::peers::Peer>,
    },
}

fn main() -> ExitCode {
    match perform(Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(command: Command) -> Result<()> {
    match command {
        Command::Bench(options) => bench::run(&options),
        Command::Chart => chart::check(),
        Command::Cluster(command) => cluster::run(&command),
        Command::Demo(options) => demo::run(&options),
        Command::Faults(options) => faults::run(&options),
        Command::Fuzz => fuzz::run(),
        Command::Generate { check } => generate::run(check),
        Command::Image => {
            let (archive, name) = image::operator()?;
            println!("{name} in {}", archive.display());
            if rig::current().is_ok_and(|facts| facts.own.is_some()) {
                rig::import(&archive)
            } else {
                Ok(())
            }
        }
        Command::Query(question) => dns::run(&question),
        Command::Test(options) => test::run(&options),
        Command::Tools { peer: None } => tools::all(),
        Command::Tools { peer: Some(peer) } => {
            println!("{}", peer.folder()?.display());
            Ok(())
        }
    }
}
