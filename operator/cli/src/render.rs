//! `render`: ingress policies as the objects that a controller reads.

use std::{num::NonZeroU32, path::PathBuf};

use tsutsumi_engine::ingress::{self, Said, TargetKind};

use crate::{
    errors::{chain, plain},
    read::{Manifests, ReadError},
};

/// What `render` prints.
pub(crate) struct Rendered {
    /// The objects, as YAML.
    pub(crate) objects: String,
    /// What a person should know of them, a line each.
    pub(crate) remarks: String,
    /// Whether something is limited by a policy and nothing can be said of it.
    pub(crate) blocked: bool,
}

/// It could not be printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RenderError {
    /// A file cannot be used.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// None of the files holds a policy.
    #[error(
        "no file holds an IngressProtectionPolicy or a ClusterIngressProtectionPolicy: name one that does"
    )]
    NoPolicy,
    /// An object has no form in YAML.
    #[error("write an object as YAML")]
    Write(#[from] serde_saphyr::SerializeError),
}

/// Reads files and says what a controller is to be told.
pub(crate) fn render(files: &[PathBuf], proxies: NonZeroU32) -> Result<Rendered, RenderError> {
    let Manifests { objects, policies } = Manifests::read(files)?;
    if policies.is_empty() {
        return Err(RenderError::NoPolicy);
    }
    let mut rendered = Rendered {
        objects: String::new(),
        remarks: String::new(),
        blocked: false,
    };
    for (of, outcome) in ingress::render(&objects, &policies, proxies) {
        let kind = match (of.kind, &of.section) {
            (TargetKind::Gateway, Some(section)) => format!("listener {section} of Gateway"),
            (TargetKind::Gateway, None) => "Gateway".to_owned(),
            (TargetKind::HttpRoute, _) => "HTTPRoute".to_owned(),
            (TargetKind::Ingress, _) => "Ingress".to_owned(),
        };
        let place = plain(&format!("{kind} {}/{}", of.namespace, of.name));
        match outcome {
            Ok(said) => {
                rendered.remarks += &remarks(&place, &said);
                if let Some(object) = said.object {
                    rendered.objects += "---\n";
                    rendered.objects += &serde_saphyr::to_string(&object)?;
                }
            }
            Err(why) => {
                rendered.blocked = true;
                rendered.remarks += &[&place, ": nothing can be said: ", &chain(&why), "\n"].concat();
            }
        }
    }
    Ok(rendered)
}

/// Which limit is whose, and what cannot be set.
fn remarks(place: &str, said: &Said) -> String {
    let mut lines = Vec::new();
    for (lever, value, choice) in said.limits.iter() {
        let lack = said.unsupported.iter().find(|lack| lack.lever == lever);
        let lack = lack.map_or_else(String::new, |lack| {
            format!("; not set: {}, and {}", lack.why, lack.nearest)
        });
        let held = choice
            .held_back
            .as_ref()
            .map_or_else(String::new, |(who, value)| {
                format!(", whose floor holds back {who} with {value}")
            });
        let policy = &choice.policy;
        lines.push(plain(&format!("{place}: {lever} {value} by {policy}{held}{lack}")) + "\n");
    }
    lines.concat()
}
