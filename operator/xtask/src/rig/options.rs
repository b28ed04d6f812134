//! How the rig can be asked for: the same structures are the command line's flags and the defaults of other commands.

use std::path::PathBuf;

use anyhow::Result;

use crate::tools::{self, Version};

/// Which installer's cluster DNS the rig carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Platform {
    /// The Corefile belongs to the administrator.
    Kubeadm,
    /// The Corefile belongs to the platform, which restores it; additions go into `coredns-custom`.
    #[value(name = "k3s")]
    K3s,
}

/// How to bring the rig up.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Kubernetes release
    #[arg(long, default_value = tools::KUBERNETES)]
    pub(crate) kubernetes: Version,
    /// Use this cluster instead of starting one; only the names that tests ask for are created in it
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Leave cluster DNS without the `NodePort` that outside clients reach
    #[arg(long)]
    pub(crate) no_expose: bool,
    /// How long kubelet may take to bring a changed `ConfigMap` to a Pod; its own default is 1m
    #[arg(long, default_value = "2s", value_name = "DURATION")]
    pub(crate) sync_frequency: String,
    /// What serves the cluster's names
    #[command(flatten)]
    pub(crate) dns: DnsOptions,
}

/// Which cluster DNS, installed as by whom.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DnsOptions {
    /// `CoreDNS` release that serves the cluster
    #[arg(long, default_value = tools::COREDNS)]
    pub(crate) coredns: Version,
    /// Whose cluster DNS to imitate
    #[arg(long, value_enum, default_value = "kubeadm")]
    pub(crate) platform: Platform,
    /// Interval and jitter of `CoreDNS`' reload; empty for its default of 30 seconds
    #[arg(long, default_value = "2s 1s", value_parser = reload)]
    pub(crate) reload: Reload,
}

impl Options {
    /// The intervals that kubelet and `CoreDNS` have where nobody set any: a change takes minutes.
    pub(crate) fn slow() -> Self {
        let mut options = Self::standard();
        "1m".clone_into(&mut options.sync_frequency);
        options.dns.reload = None;
        options
    }

    /// What `cluster up` does without a flag.
    pub(crate) fn standard() -> Self {
        use clap::Parser as _;

        #[derive(clap::Parser)]
        struct Up {
            #[command(flatten)]
            options: Options,
        }
        Up::parse_from(["up"]).options
    }
}

/// The arguments of `reload`, or none.
pub(crate) type Reload = Option<String>;

#[expect(clippy::unnecessary_wraps, reason = "clap wants a fallible parser")]
fn reload(text: &str) -> Result<Reload, std::convert::Infallible> {
    Ok(Some(text.trim())
        .filter(|text| !text.is_empty())
        .map(str::to_owned))
}
