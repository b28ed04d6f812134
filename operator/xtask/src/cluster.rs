//! `cargo xtask cluster …`: the rig by itself.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

use crate::rig::{self, Options};
use crate::tools::Version;

/// What to do with the rig.
#[derive(Subcommand)]
pub(crate) enum Cluster {
    /// Start a cluster on this machine, after clearing what an earlier run left
    Up(Options),
    /// Take it away without leftovers
    Down,
    /// Print what a suite needs to know of it, one NAME=value a line
    Env,
    /// Load an image archive into it
    Import {
        /// The archive
        archive: PathBuf,
    },
    /// Load one more `CoreDNS` release into it and print the image's name
    ImportCoredns {
        /// The release
        version: Version,
    },
    /// Play the platform that restores its Corefile (started by `up --platform k3s`)
    #[command(hide = true)]
    PlatformWriter {
        /// What it applies
        manifest: PathBuf,
        /// The program that applies it
        #[arg(long)]
        kubectl: PathBuf,
    },
}

/// Does it.
pub(crate) fn run(command: &Cluster) -> Result<()> {
    match command {
        Cluster::Up(options) => print!("{}", rig::up(options)?),
        Cluster::Down => rig::down()?,
        Cluster::Env => print!("{}", rig::facts()?),
        Cluster::Import { archive } => rig::import(archive)?,
        Cluster::ImportCoredns { version } => println!("{}", rig::import_coredns(version)?),
        Cluster::PlatformWriter { manifest, kubectl } => rig::platform_writer(kubectl, manifest)?,
    }
    Ok(())
}
