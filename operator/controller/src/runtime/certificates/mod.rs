//! Keeps the certificates between our parts, and the keys of the probe zone, in Secrets of our namespace, which the
//! chart makes.
//!
//! The leader looks when it starts to lead and then every hour; what it decides is pure and stands in [`issue`].
//! Every write is preceded by a test on the resourceVersion that was read. The controller's own identity stays in
//! memory; the prober's Secret is mounted by the prober inside, and copied by a person to one outside.

pub(crate) mod hop;
mod issue;
mod keys;
mod tls;

use std::time::Duration;

use jiff::Timestamp;
use json_patch::{AddOperation, Patch, PatchOperation, TestOperation, jsonptr::PointerBuf};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};
use tsutsumi_engine::managed::hop::{AUTHORITY, SECRET as RESOLVER_TLS};
use tsutsumi_model::MarkKey;
use tsutsumi_probes::TlsError;

use self::{
    issue::{Authority, Data, IssueError, Peer, Renewal},
    keys::KeyError,
};
pub(crate) use self::{keys::MarkKeys, tls::ControllerTls};
use super::{
    lease::Leadership,
    logging::Chain,
    metrics::Metrics,
    shutdown::Shutdown,
    writer::{WriteError, Writer},
};

/// The Secret of the authority.
const CA_SECRET: &str = "tsutsumi-ca";
/// The Secret of each peer.
const LEAVES: [(&str, Peer); 3] = [
    ("tsutsumi-controller-tls", Peer::Controller),
    ("tsutsumi-prober-tls", Peer::Prober),
    ("tsutsumi-probe-zone-tls", Peer::Zone),
];

/// The Secret with the keys of the probe zone.
pub(crate) const PROBE_ZONE_KEYS: &str = "tsutsumi-probe-zone-keys";

const LOOK_EVERY: Duration = Duration::from_secs(3600);
const RETRY_AFTER: Duration = Duration::from_secs(10);
const READ_LIMIT: Duration = Duration::from_secs(10);

/// Why the certificates are not all as they should be.
#[derive(Debug, thiserror::Error)]
enum CertificateError {
    /// A Secret could not be read.
    #[error("cannot read the Secret `{name}`; the chart makes it, see `helm upgrade`")]
    Read {
        /// Which.
        name: &'static str,
        /// Why.
        source: kube::Error,
    },
    /// The API server was silent.
    #[error("no answer in time while reading the Secret `{name}`")]
    Deadline {
        /// Which.
        name: &'static str,
    },
    /// A certificate could not be made.
    #[error("cannot renew the Secret `{name}`")]
    Issue {
        /// Which.
        name: &'static str,
        /// Why.
        source: IssueError,
    },
    /// A key could not be made.
    #[error("cannot fill the Secret `{name}`")]
    Key {
        /// Which.
        name: &'static str,
        /// Why.
        source: KeyError,
    },
    /// A Secret could not be written.
    #[error("cannot keep the Secret `{name}`")]
    Write {
        /// Which.
        name: &'static str,
        /// Why.
        source: WriteError,
    },
    /// The ConfigMap with the authorities could not be read.
    #[error(
        "cannot read the ConfigMap `{namespace}/{}`; the chart makes it, see `helm upgrade`",
        AUTHORITY
    )]
    ReadAuthority {
        /// Where.
        namespace: String,
        /// Why; none where the API server was silent.
        source: Option<kube::Error>,
    },
    /// The ConfigMap with the authorities could not be written.
    #[error("cannot fill the ConfigMap `{namespace}/{}`", AUTHORITY)]
    WriteAuthority {
        /// Where.
        namespace: String,
        /// Why.
        source: WriteError,
    },
    /// What was issued makes no identity.
    #[error("cannot use the certificate in the Secret `{name}`")]
    Unusable {
        /// Which.
        name: &'static str,
        /// Why.
        source: TlsError,
    },
}

/// Keeps the certificates.
pub(crate) struct Certificates {
    api: Api<Secret>,
    authorities: Vec<Api<ConfigMap>>,
    leadership: Leadership,
    metrics: Metrics,
    identity: watch::Sender<tls::Identity>,
    mark_key: watch::Sender<Option<MarkKey>>,
}

impl Certificates {
    /// A keeper that does nothing until it runs, and the identity and the key that it will have. In `hops` are the
    /// namespaces of CoreDNS where a managed resolver's authorities are told.
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        hops: &[&str],
        leadership: Leadership,
        metrics: Metrics,
    ) -> (Self, ControllerTls, MarkKeys) {
        let (identity, seen) = watch::channel(None);
        let (mark_key, keys) = watch::channel(None);
        let authorities = hops.iter().map(|hop| Api::namespaced(client.clone(), hop));
        let authorities = authorities.collect();
        let api = Api::namespaced(client, namespace);
        (
            Self {
                api,
                authorities,
                leadership,
                metrics,
                identity,
                mark_key,
            },
            ControllerTls::new(seen),
            MarkKeys::new(keys),
        )
    }

    /// Keeps them while this process leads, until shutdown.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut leads = self.leadership.subscribe();
        loop {
            leads.mark_unchanged();
            let wait = match self.leadership.writer() {
                Some(writer) => self.round(&writer).await,
                None => LOOK_EVERY,
            };
            tokio::select! {
                () = shutdown.requested() => return,
                lost = leads.changed() => if lost.is_err() { return },
                () = sleep(wait) => {}
            }
        }
    }

    /// Looks at every Secret once; says when to look again.
    async fn round(&self, writer: &Writer) -> Duration {
        match self.keep(writer, Timestamp::now()).await {
            Ok(()) => LOOK_EVERY,
            Err(problem) => {
                tracing::warn!(error = %Chain(&problem), "the certificates are not all as they should be");
                RETRY_AFTER
            }
        }
    }

    async fn keep(&self, writer: &Writer, now: Timestamp) -> Result<(), CertificateError> {
        let authority = self.authority(writer, now).await?;
        for (name, peer) in LEAVES {
            let data = self.leaf(writer, &authority, name, peer, now).await?;
            if let Some(not_after) = issue::not_after(&data, issue::TLS_CERT) {
                self.metrics.set_certificate(name, not_after);
            }
            if peer == Peer::Controller {
                let config = tls::client_config(&data)
                    .map_err(|source| CertificateError::Unusable { name, source })?;
                self.identity.send_replace(Some(config));
            }
        }
        self.zone_keys(writer).await?;
        if self.authorities.is_empty() {
            return Ok(());
        }
        self.hop(writer, &authority, now).await
    }

    /// The certificates of managed resolvers, and who may sign them, where CoreDNS reads that.
    async fn hop(
        &self,
        writer: &Writer,
        authority: &Authority,
        now: Timestamp,
    ) -> Result<(), CertificateError> {
        let name = RESOLVER_TLS;
        let (data, secret) = self.read(name).await?;
        let next =
            hop::due(&data, authority, now).map_err(|source| CertificateError::Issue { name, source })?;
        let data = match next {
            Some(next) => {
                self.write(writer, name, &secret, &next).await?;
                next
            }
            None => data,
        };
        if let Some(not_after) = hop::not_after(&data) {
            self.metrics.set_certificate(name, not_after);
        }
        for api in &self.authorities {
            self.publish(writer, api, &data, now).await?;
        }
        Ok(())
    }

    async fn publish(
        &self,
        writer: &Writer,
        api: &Api<ConfigMap>,
        secret: &Data,
        now: Timestamp,
    ) -> Result<(), CertificateError> {
        let namespace = api.namespace().unwrap_or_default().to_owned();
        let unread = |source| CertificateError::ReadAuthority {
            namespace: namespace.clone(),
            source,
        };
        let map = tokio::time::timeout(READ_LIMIT, api.get(AUTHORITY))
            .await
            .map_err(|_| unread(None))?
            .map_err(|source| unread(Some(source)))?;
        let Some(next) = hop::published(&map.data.clone().unwrap_or_default(), secret, now) else {
            return Ok(());
        };
        writer
            .json_patch(api, AUTHORITY, replaced(&map, &json!(next)))
            .await
            .map_err(|source| CertificateError::WriteAuthority {
                namespace: namespace.clone(),
                source,
            })?;
        tracing::info!(namespace, "the authorities of the managed resolver were written");
        Ok(())
    }

    async fn zone_keys(&self, writer: &Writer) -> Result<(), CertificateError> {
        let name = PROBE_ZONE_KEYS;
        let (data, secret) = self.read(name).await?;
        let data = match keys::due(&data).map_err(|source| CertificateError::Key { name, source })? {
            Some(next) => {
                self.write(writer, name, &secret, &next).await?;
                next
            }
            None => data,
        };
        self.mark_key.send_replace(keys::mark_key(&data));
        Ok(())
    }

    async fn authority(&self, writer: &Writer, now: Timestamp) -> Result<Authority, CertificateError> {
        let (data, secret) = self.read(CA_SECRET).await?;
        let present = match issue::authority_due(&data, now) {
            Renewal::None => Authority::read(&data),
            Renewal::Bundle | Renewal::Certificate | Renewal::Key => None,
        };
        let authority = if let Some(authority) = present {
            authority
        } else {
            let next = Authority::next(&data, now).map_err(|source| CertificateError::Issue {
                name: CA_SECRET,
                source,
            })?;
            self.write(writer, CA_SECRET, &secret, &next.data()).await?;
            next
        };
        if let Some(not_after) = issue::not_after(&authority.data(), issue::CA_CERT) {
            self.metrics.set_certificate(CA_SECRET, not_after);
        }
        Ok(authority)
    }

    async fn leaf(
        &self,
        writer: &Writer,
        authority: &Authority,
        name: &'static str,
        peer: Peer,
        now: Timestamp,
    ) -> Result<Data, CertificateError> {
        let (data, secret) = self.read(name).await?;
        let next = match issue::leaf_due(&data, peer, authority, now) {
            Renewal::None => return Ok(data),
            Renewal::Bundle => authority.rebundle(data),
            Renewal::Certificate | Renewal::Key => authority
                .issue(peer, now)
                .map_err(|source| CertificateError::Issue { name, source })?,
        };
        self.write(writer, name, &secret, &next).await?;
        Ok(next)
    }

    async fn read(&self, name: &'static str) -> Result<(Data, Secret), CertificateError> {
        let read = tokio::time::timeout(READ_LIMIT, self.api.get(name)).await;
        let secret = read
            .map_err(|_| CertificateError::Deadline { name })?
            .map_err(|source| CertificateError::Read { name, source })?;
        let data = secret
            .data
            .iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.0.clone()))
            .collect();
        Ok((data, secret))
    }

    async fn write(
        &self,
        writer: &Writer,
        name: &'static str,
        read: &Secret,
        data: &Data,
    ) -> Result<(), CertificateError> {
        let patch = replace_data(read, data);
        writer
            .json_patch(&self.api, name, patch)
            .await
            .map_err(|source| CertificateError::Write { name, source })?;
        tracing::info!(secret = name, "a Secret of ours was filled or renewed");
        Ok(())
    }
}

/// Replaces the data of a Secret, if it is still the one that was read.
fn replace_data(read: &Secret, data: &Data) -> Patch {
    let bytes: std::collections::BTreeMap<_, _> = data
        .iter()
        .map(|(key, value)| (key, ByteString(value.clone())))
        .collect();
    replaced(read, &json!(bytes))
}

/// Replaces the data of an object, if it is still the one that was read.
fn replaced(read: &impl ResourceExt, data: &Value) -> Patch {
    Patch(vec![
        PatchOperation::Test(TestOperation {
            path: PointerBuf::from_tokens(["metadata", "resourceVersion"]),
            value: json!(read.resource_version()),
        }),
        PatchOperation::Add(AddOperation {
            path: PointerBuf::from_tokens(["data"]),
            value: data.clone(),
        }),
    ])
}

#[cfg(test)]
#[path = "keep_tests.rs"]
mod tests;
