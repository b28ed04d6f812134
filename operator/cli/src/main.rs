//! The binary `kubectl-tsutsumi`, which kubectl starts as `kubectl tsutsumi`. It reads files and prints; nothing is decided
//! here.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};

mod errors;
mod read;
mod render;

/// What people and pipelines do with tsutsumi's policies.
#[derive(Parser)]
#[command(name = "kubectl tsutsumi", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the objects that say ingress policies to Envoy Gateway, for who keeps them in Git
    Render {
        /// How many proxies serve a Gateway: each gets its share of a client's requests
        #[arg(long, default_value = "1")]
        proxies: std::num::NonZeroU32,
        /// Files of YAML with the policies, the Gateways, their classes and routes, and the policies of Envoy Gateway's own
        /// kinds that are in force; `-` is standard input
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

fn main() -> ExitCode {
    let Command::Render { proxies, files } = Args::parse().command;
    let rendered = match render::render(&files, proxies) {
        Ok(rendered) => rendered,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{}", errors::chain(&error));
            return ExitCode::from(2);
        }
    };
    let _ = io::stderr().write_all(rendered.remarks.as_bytes());
    if io::stdout().write_all(rendered.objects.as_bytes()).is_err() {
        return ExitCode::from(2);
    }
    if rendered.blocked {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
