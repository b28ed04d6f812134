//! The probers that can be asked, inside and outside.

use std::{net::SocketAddr, sync::Arc};

use tsutsumi_engine::cluster::Pod;
use tsutsumi_model::{Collect, Collected, Observation, Port, Probe, Vantage};
use tsutsumi_probes::{ProberClient, ProberError};

use crate::runtime::{args::OutsideVantage, certificates::ControllerTls};

/// Knows where probers are and how to dial them.
#[derive(Clone)]
pub(crate) struct Vantages {
    own_namespace: String,
    prober_port: Port,
    outside: Vec<OutsideVantage>,
    tls: ControllerTls,
}

/// A vantage could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VantageError {
    /// There is no prober.
    #[error("there is no prober {vantage}: {advice}")]
    Missing {
        /// Where.
        vantage: Vantage,
        /// What to do.
        advice: &'static str,
    },
    /// We have no certificate yet.
    #[error("the certificates for the probers are not issued yet")]
    Unidentified,
    /// It did not answer.
    #[error("the prober {vantage} at {address} could not be asked")]
    Prober {
        /// Where.
        vantage: Vantage,
        /// Its address.
        address: SocketAddr,
        /// What failed.
        #[source]
        source: ProberError,
    },
}

impl Vantages {
    pub(crate) fn new(
        own_namespace: &str,
        prober_port: Port,
        outside: Vec<OutsideVantage>,
        tls: ControllerTls,
    ) -> Self {
        Self {
            own_namespace: own_namespace.to_owned(),
            prober_port,
            outside,
            tls,
        }
    }

    /// Whether there is anybody to ask outside.
    pub(crate) fn has_outside(&self) -> bool {
        !self.outside.is_empty()
    }

    /// Asks the first prober of a vantage that answers; `pods` are those of our own namespace among others.
    pub(crate) async fn ask(
        &self,
        pods: &[Arc<Pod>],
        vantage: Vantage,
        probes: Vec<Probe>,
    ) -> Result<Vec<Observation>, VantageError> {
        if probes.is_empty() {
            return Ok(Vec::new());
        }
        let (addresses, advice) = match vantage {
            Vantage::Inside => (
                self.inside(pods),
                "wait for the pods of the Deployment tsutsumi-prober",
            ),
            Vantage::Outside => (
                self.outside
                    .iter()
                    .map(|outside| outside.endpoint.socket())
                    .collect(),
                "run `tsutsumi prober` outside and name it under `vantages` in the chart's values",
            ),
        };
        let mut failed = VantageError::Missing { vantage, advice };
        for address in addresses {
            let Some(tls) = self.tls.client_config() else {
                return Err(VantageError::Unidentified);
            };
            let client = ProberClient::new(address, vantage, tls);
            match client.run(probes.clone()).await {
                Ok(observations) => return Ok(observations),
                Err(source) => {
                    failed = VantageError::Prober {
                        vantage,
                        address,
                        source,
                    }
                }
            }
        }
        Err(failed)
    }

    /// Lets every prober inside collect names, and brings what all of them have.
    pub(crate) async fn collect(
        &self,
        pods: &[Arc<Pod>],
        asked: &Collect,
    ) -> Result<Collected, VantageError> {
        let vantage = Vantage::Inside;
        let addresses = self.inside(pods);
        if addresses.is_empty() {
            let advice = "wait for the pods of the Deployment tsutsumi-prober";
            return Err(VantageError::Missing { vantage, advice });
        }
        let mut told = Vec::new();
        for address in addresses {
            let tls = self.tls.client_config().ok_or(VantageError::Unidentified)?;
            let client = ProberClient::new(address, vantage, tls);
            let one = client.collect(asked).await;
            told.push(one.map_err(|source| VantageError::Prober {
                vantage,
                address,
                source,
            })?);
        }
        Ok(Collected::joined(told))
    }

    /// The ready pods of our prober.
    fn inside(&self, pods: &[Arc<Pod>]) -> Vec<SocketAddr> {
        let ready = pods
            .iter()
            .filter_map(|pod| address_of(pod, &self.own_namespace, "prober", self.prober_port));
        let mut addresses: Vec<_> = ready.collect();
        addresses.sort_unstable();
        addresses
    }
}

/// Where the part of ours that a ready pod runs listens; none for any other pod.
pub(super) fn address_of(pod: &Pod, own_namespace: &str, component: &str, port: Port) -> Option<SocketAddr> {
    let is = |key: &str, value: &str| pod.label(key) == Some(value);
    let ours = pod.metadata.namespace.as_deref() == Some(own_namespace)
        && is("app.kubernetes.io/name", "tsutsumi")
        && is("app.kubernetes.io/component", component);
    let address = *pod.addresses.first()?;
    (ours && pod.ready).then_some(SocketAddr::new(address, port.get()))
}
