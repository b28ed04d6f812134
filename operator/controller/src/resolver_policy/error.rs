//! Why a reconcile ended early, one variant per phase.

use std::time::Duration;

use crate::runtime::writer::WriteError;

/// Why a reconcile ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Our own record could not be read.
    #[error("could not read the record of what is ours")]
    Load {
        /// What failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A step of the rollout failed.
    #[error("could not {operation}")]
    Apply {
        /// What was tried.
        operation: &'static str,
        /// What failed.
        #[source]
        source: WriteError,
    },
    /// An object or a patch could not be described.
    #[error("could not describe {what}")]
    Describe {
        /// What.
        what: &'static str,
        /// What failed.
        #[source]
        source: serde_json::Error,
    },
    /// The status could not be written.
    #[error("could not write the status")]
    Publish {
        /// What failed.
        #[source]
        source: WriteError,
    },
    /// A phase took longer than it may.
    #[error("the phase `{phase}` took longer than {} s", limit.as_secs())]
    Deadline {
        /// Which.
        phase: &'static str,
        /// How long it may take.
        limit: Duration,
    },
}

impl Error {
    /// The closed set of categories: the only failure label of a metric.
    pub(crate) const fn category(&self) -> &'static str {
        match self {
            Self::Load { .. } => "load",
            Self::Apply { .. } => "apply",
            Self::Describe { .. } => "describe",
            Self::Publish { .. } => "publish",
            Self::Deadline { .. } => "deadline",
        }
    }
}
