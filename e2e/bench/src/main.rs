//! Measures the controller beside an operator that does nothing, and writes the report. `cargo xtask bench` brings up what
//! this needs: an API server with its store, three users with a kubeconfig each, an audit log, cluster DNS as objects.
#![allow(
    clippy::print_stdout,
    reason = "telling how far it has come is all there is to see"
)]

mod audit;
mod load;
mod measure;
mod observer;
mod report;
mod rig;
mod stats;
mod subject;

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::{
    measure::{Amount, Bench, Block},
    observer::Observer,
    subject::{Programs, Subject},
};

/// How many objects there are beside cluster DNS.
const SIZES: [usize; 3] = [10, 1_000, 10_000];

/// What to measure.
#[derive(Parser)]
enum Command {
    /// Both subjects on an API server without nodes
    Bare(Bare),
    /// A change up to the last pod, on a cluster where the chart is installed and one policy is Ready
    OnRig(rig::OnRig),
}

#[derive(clap::Args)]
struct Bare {
    /// The folder with `admin.kubeconfig`, one for each subject, and `audit.log`
    #[arg(long)]
    folder: PathBuf,
    /// The controller's program
    #[arg(long)]
    controller: PathBuf,
    /// The program of the operator that does nothing
    #[arg(long)]
    null: PathBuf,
    /// The processor that each subject has to itself
    #[arg(long)]
    core: Option<usize>,
    /// Fewer samples
    #[arg(long)]
    quick: bool,
    /// The machine and the versions, one a line
    #[arg(long)]
    setting: Vec<String>,
    /// The report
    #[arg(long)]
    report: PathBuf,
}

/// The blocks of each size and subject.
type Blocks = BTreeMap<(usize, Subject), Vec<Block>>;

#[tokio::main]
async fn main() -> Result<()> {
    // An error here means that a provider is installed already, which is what we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match Command::parse() {
        Command::Bare(bare) => measure_bare(bare).await,
        Command::OnRig(on_rig) => rig::measure(on_rig).await,
    }
}

async fn measure_bare(bare: Bare) -> Result<()> {
    let programs = Programs {
        controller: bare.controller,
        null: bare.null,
        folder: bare.folder,
        core: bare.core,
    };
    let amount = if bare.quick {
        Amount {
            blocks: 3,
            changes: 10,
            idle: 20,
        }
    } else {
        Amount {
            blocks: 5,
            changes: 20,
            idle: 60,
        }
    };
    let client = client(&programs).await?;
    load::foundation(&client).await?;
    let mut bench = Bench {
        client: &client,
        programs: &programs,
        observer: Observer::start(&client),
        edits: 0,
    };
    let mut blocks = Blocks::new();
    let mut there = 0;
    for size in SIZES {
        load::crowd(&client, there, size).await?;
        there = size;
        println!("{size} objects are there");
        for number in 0..amount.blocks {
            // Whoever is first finds other caches than the second: they take turns.
            let mut order = Subject::ALL;
            if number % 2 == 1 {
                order.reverse();
            }
            for subject in order {
                let idle = number + 1 == amount.blocks;
                let block = bench
                    .block(subject, amount, idle)
                    .await
                    .with_context(|| format!("block {number} of {} with {size} objects", subject.name()))?;
                println!(
                    "{size:6} objects, block {}, {}: started in {:.0} ms",
                    number + 1,
                    subject.name(),
                    block.cold
                );
                blocks.entry((size, subject)).or_default().push(block);
            }
        }
    }
    report::bare(&bare.report, &blocks, amount, bare.quick, &bare.setting)
}

async fn client(programs: &Programs) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(programs.kubeconfig("admin"))?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.read_timeout = None;
    Ok(Client::try_from(config)?)
}
