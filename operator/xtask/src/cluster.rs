//! `cargo xtask cluster …`: the rig by itself.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

use crate::image;
use crate::rig::{self, DnsOptions, Ingress, Options};
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
    /// Put another cluster DNS in place of the running one
    Dns(DnsOptions),
    /// Put an ingress controller into it
    Ingress {
        /// Which one
        controller: Ingress,
    },
    /// Start the operator's prober in the outside namespace, once the operator has issued its certificate
    OutsideProber {
        /// The `tsutsumi` program; absent for the one that `cargo xtask image` builds
        #[arg(long)]
        binary: Option<PathBuf>,
        /// The release's namespace
        #[arg(long, default_value = "tsutsumi-system")]
        namespace: String,
    },
    /// Start a probe zone in the outside namespace, once the operator has made its certificate and keys
    OutsideZone {
        /// The `tsutsumi` program; absent for the one that `cargo xtask image` builds
        #[arg(long)]
        binary: Option<PathBuf>,
        /// The release's namespace
        #[arg(long, default_value = "tsutsumi-system")]
        namespace: String,
    },
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
    /// Call its image of Unbound by one more tag and print the image's name
    TagUnbound {
        /// The tag
        tag: Version,
    },
    /// Have its root publish one more key, and print the key's DS record
    PublishRootKey,
    /// Have its root publish only the key that it was made with
    WithdrawRootKeys,
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
        Cluster::Env => print!("{}", rig::current()?),
        Cluster::Dns(options) => rig::replace_dns(options)?,
        Cluster::Ingress { controller } => rig::install_ingress(*controller)?,
        Cluster::OutsideProber { binary, namespace } => {
            rig::outside_prober(&binary.clone().unwrap_or_else(image::operator_binary), namespace)?;
        }
        Cluster::OutsideZone { binary, namespace } => {
            rig::outside_zone(&binary.clone().unwrap_or_else(image::operator_binary), namespace)?;
        }
        Cluster::Import { archive } => rig::import(archive)?,
        Cluster::ImportCoredns { version } => println!("{}", rig::import_coredns(version)?),
        Cluster::TagUnbound { tag } => println!("{}", rig::tag_unbound(tag)?),
        Cluster::PublishRootKey => println!("{}", rig::publish_root_key()?),
        Cluster::WithdrawRootKeys => rig::withdraw_root_keys()?,
        Cluster::PlatformWriter { manifest, kubectl } => rig::platform_writer(kubectl, manifest)?,
    }
    Ok(())
}
