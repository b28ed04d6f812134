//! The project's own tool: `cargo xtask <command>` builds, generates, brings up the rig and runs everything CI
//! runs. Each command says step by step what it did and how long it took.
#![allow(
    clippy::print_stdout,
    reason = "printing progress is what this program is for"
)]

mod cluster;
mod image;
mod rig;
mod run;
mod tools;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Everything around building and testing tsutsumi
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Command {
    /// A real cluster on this machine
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// Build the operator's image, and load it into the rig where one is up
    Image,
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
        Command::Cluster(command) => cluster::run(&command),
        Command::Image => {
            let (archive, name) = image::operator()?;
            println!("{name} in {}", archive.display());
            if rig::facts().is_ok_and(|facts| facts.own.is_some()) {
                rig::import(&archive)
            } else {
                Ok(())
            }
        }
    }
}
