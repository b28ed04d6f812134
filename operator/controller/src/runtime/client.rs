//! The connection to the API server.
//!
//! kube's own retries are off: they can hold one call for minutes, and whoever calls has a deadline and a back-off of
//! its own. No read time-out is set, since it would cut every idle watch; each call is bounded where it is made.

use std::time::Duration;

use kube::{Client, Config};

/// How long a connection may take to be set up.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Neither a service account nor a kubeconfig was found.
    #[error("cannot find out how to reach the API server: run in a pod, or set KUBECONFIG")]
    Config {
        /// What was wrong with both.
        #[source]
        source: kube::config::InferConfigError,
    },
    /// The configuration does not make a client.
    #[error("cannot set up the client of the API server")]
    Build {
        /// Why not.
        #[source]
        source: kube::Error,
    },
}

/// A client by the kubeconfig if one is named, else by the pod's service account.
pub(crate) async fn connect() -> Result<Client, ClientError> {
    let config = Config::infer()
        .await
        .map_err(|source| ClientError::Config { source })?;
    Client::try_from(bounded(config)).map_err(|source| ClientError::Build { source })
}

fn bounded(mut config: Config) -> Config {
    config.connect_timeout = Some(CONNECT_LIMIT);
    config.read_timeout = None;
    config.default_retry = false;
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_are_not_cut_and_calls_are_not_repeated_behind_our_back() {
        let url = "https://192.0.2.1".parse().unwrap();
        let config = bounded(Config::new(url));
        assert_eq!(config.read_timeout, None);
        assert!(!config.default_retry);
    }
}
