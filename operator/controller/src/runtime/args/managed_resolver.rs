//! How managed resolvers run, as the chart says.

use clap::ValueEnum;
use tsutsumi_engine::managed::{Offer, Placement};

/// The arguments of `tsutsumi controller` that say how managed resolvers run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ManagedResolverArgs {
    /// The image of managed resolvers; absent where the chart grants no right to run any.
    #[arg(long = "managed-resolver-image", env = "TSUTSUMI_MANAGED_RESOLVER_IMAGE", value_name = "IMAGE", value_parser = image)]
    pub(crate) image: Option<String>,
    /// When that image is pulled.
    #[arg(
        long = "managed-resolver-pull-policy",
        env = "TSUTSUMI_MANAGED_RESOLVER_PULL_POLICY",
        default_value = "IfNotPresent"
    )]
    pub(crate) pull_policy: PullPolicy,
    /// The number of pods of each managed resolver, 1 to 16.
    #[arg(long = "managed-resolver-replicas", env = "TSUTSUMI_MANAGED_RESOLVER_REPLICAS", default_value = "2", value_name = "NUMBER",
          value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(crate) replicas: u16,
    /// The image of the process that tells their numbers, our own; without it nobody tells them.
    #[arg(long = "managed-resolver-metrics-image", env = "TSUTSUMI_MANAGED_RESOLVER_METRICS_IMAGE", value_name = "IMAGE", value_parser = image)]
    pub(crate) metrics_image: Option<String>,
    /// What their pods get and where they may run: `resources`, `nodeSelector`, `tolerations`, `priorityClassName`,
    /// `imagePullSecrets`, as in a Pod.
    #[arg(long = "managed-resolver-placement", env = "TSUTSUMI_MANAGED_RESOLVER_PLACEMENT", value_name = "JSON", default_value = "{}",
          value_parser = placement)]
    pub(crate) placement: Placement,
}

/// When an image is pulled, as in a Pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum PullPolicy {
    /// Whenever a container starts.
    Always,
    /// Where the node does not have it.
    IfNotPresent,
    /// Never: the node has it.
    Never,
}

impl ManagedResolverArgs {
    /// How managed resolvers run, where they may.
    pub(crate) fn offer(&self) -> Option<Offer> {
        Some(Offer {
            image: self.image.clone()?,
            metrics_image: self.metrics_image.clone(),
            pull_policy: format!("{:?}", self.pull_policy),
            replicas: self.replicas,
            placement: self.placement.clone(),
        })
    }
}

/// A reference of a container image.
fn image(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
    let fits = (1..=512).contains(&text.len()) && text.bytes().all(fits);
    fits.then(|| text.to_owned()).ok_or_else(|| {
        "write an image as a Pod does, for example `registry.example/unbound:1.26.2`".to_owned()
    })
}

fn placement(text: &str) -> Result<Placement, String> {
    serde_json::from_str(text).map_err(|error| {
        format!(
            "write a JSON object with the fields of a Pod, for example `{{\"nodeSelector\": {{}}}}`: {error}"
        )
    })
}
