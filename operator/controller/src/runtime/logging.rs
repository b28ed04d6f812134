//! Structured logs on standard error, with a level that can be changed while running.
//!
//! Errors are logged through [`Chain`], which prints the cause of the cause: our own errors leave their source out of
//! `Display`. kube's do not since 4.2, so the chain ends at the first of them. Foreign text is escaped, so that no
//! object's name can forge a log line.

use std::{
    error::Error,
    fmt,
    io::{self, IsTerminal},
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt as lines, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use super::args::LogFormat;

/// Changes what is logged.
#[derive(Clone, Debug)]
pub(crate) struct LevelHandle(reload::Handle<EnvFilter, Registry>);

/// Why logging cannot be set up, or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The text is no filter.
    #[error("`{0}` is not a log filter: write a level, or levels by target, for example `info,kube=warn`")]
    Filter(String),
    /// A subscriber is there already, or it is gone.
    #[error("cannot set up logging: {0}")]
    Setup(String),
}

/// Starts logging to standard error.
pub(crate) fn init(format: LogFormat, filter: &str) -> Result<LevelHandle, LogError> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let lines = match format {
        LogFormat::Json => lines::layer()
            .json()
            .flatten_event(true)
            .with_writer(io::stderr)
            .boxed(),
        LogFormat::Plain => lines::layer()
            .with_ansi(io::stderr().is_terminal())
            .with_writer(io::stderr)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .map_err(|problem| LogError::Setup(problem.to_string()))?;
    Ok(LevelHandle(handle))
}

impl LevelHandle {
    /// Replaces the filter.
    pub(crate) fn set(&self, filter: &str) -> Result<(), LogError> {
        self.0
            .reload(parse(filter)?)
            .map_err(|problem| LogError::Setup(problem.to_string()))
    }

    /// A handle with the layer that it steers, which has to live as long: for tests of what uses it.
    #[cfg(test)]
    pub(crate) fn detached() -> (Self, reload::Layer<EnvFilter, Registry>) {
        let (layer, handle) = reload::Layer::new(EnvFilter::new("info"));
        (Self(handle), layer)
    }

    /// The filter as it stands.
    #[cfg(test)]
    pub(crate) fn current(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_default()
    }
}

/// Stricter than [`EnvFilter`], which takes a misspelt level for the name of a target.
fn parse(text: &str) -> Result<EnvFilter, LogError> {
    let known = |part: &str| {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        !level.trim().is_empty() && level.trim().parse::<LevelFilter>().is_ok()
    };
    let bad = || LogError::Filter(text.to_owned());
    if !text.split(',').all(known) {
        return Err(bad());
    }
    EnvFilter::try_new(text).map_err(|_| bad())
}

/// Shows an error with all its causes, `: ` between them.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cause = Some(self.0);
        while let Some(error) = cause {
            escape(&error.to_string(), f)?;
            cause = error.source().filter(|_| !tells_all(error));
            if cause.is_some() {
                f.write_str(": ")?;
            }
        }
        Ok(())
    }
}

/// Whether the error's `Display` includes its sources.
fn tells_all(error: &(dyn Error + 'static)) -> bool {
    error.is::<kube::Error>()
        || error.is::<Box<kube::Error>>()
        || error.is::<kube::config::InferConfigError>()
}

fn escape(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    text.chars().try_for_each(|char| {
        if char.is_control() {
            write!(f, "{}", char.escape_default())
        } else {
            write!(f, "{char}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read {what}")]
    struct Outer<E: Error + 'static> {
        what: &'static str,
        source: E,
    }

    #[test]
    fn the_chain_of_causes_is_shown() {
        let inner = Outer {
            what: "the file",
            source: io::Error::other("disk\non fire"),
        };
        let outer = Outer {
            what: "the list",
            source: inner,
        };
        assert_eq!(
            Chain(&outer).to_string(),
            "cannot read the list: cannot read the file: disk\\non fire"
        );
    }

    #[test]
    fn the_chain_ends_at_kubes_own_error() {
        let io = io::Error::other("broken pipe");
        let outer = Outer {
            what: "the node",
            source: kube::Error::ReadEvents(io),
        };
        let shown = Chain(&outer).to_string();
        assert_eq!(shown.matches("broken pipe").count(), 1, "{shown}");
    }

    #[test]
    fn a_misspelt_level_is_refused() {
        for good in ["info", "debug,kube=warn", "off", "tsutsumi::runtime=trace"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["verbose", "kube=loud", "", "info,,"] {
            assert!(matches!(parse(bad), Err(LogError::Filter(_))), "{bad}");
        }
    }
}
