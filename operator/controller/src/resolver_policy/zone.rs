//! The probe zone of our installation: names for a round, and what reached it of them.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::Arc,
};

use jiff::Timestamp;
use tsutsumi_engine::{
    cluster::Pod,
    verify::{Aim, Marks, Step},
};
use tsutsumi_model::{DomainName, Heard, Port, Vantage};
use tsutsumi_zone::{ClientError, ZoneClient};

use crate::runtime::certificates::{ControllerTls, MarkKeys};

use super::vantage::address_of;

/// Where a probe zone tells what reached it.
const CONTROL: Port = Port::new(8443).expect("8443 is not 0");

/// Knows the probe zone and how to ask it.
#[derive(Clone)]
pub(crate) struct Zone {
    name: Option<DomainName>,
    own_namespace: String,
    tls: ControllerTls,
    keys: MarkKeys,
}

/// The probe zone cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ZoneError {
    /// The chart runs none.
    #[error("the probe zone does not run: set `probeZone.enabled=true` in the chart's values")]
    Absent,
    /// We have no certificate or key yet.
    #[error("the keys of the probe zone are not made yet; the next round asks again")]
    Unidentified,
    /// No pod of it is ready.
    #[error(
        "no pod of the Deployment tsutsumi-probe-zone is ready: look at `kubectl get pods -A -l \
             app.kubernetes.io/component=probe-zone`"
    )]
    NotReady,
    /// It did not tell.
    #[error("the probe zone at {address} could not be asked what reached it")]
    Client {
        /// Its control port.
        address: SocketAddr,
        /// What failed.
        source: ClientError,
    },
}

/// A round that names of the zone may be part of.
pub(super) struct Listening {
    client: ZoneClient,
    address: SocketAddr,
    pub(super) marks: Marks,
}

impl Zone {
    pub(crate) fn new(
        name: Option<DomainName>,
        own_namespace: &str,
        tls: ControllerTls,
        keys: MarkKeys,
    ) -> Self {
        Self {
            name,
            own_namespace: own_namespace.to_owned(),
            tls,
            keys,
        }
    }

    /// Gets ready to hear a round; `pods` are those of our own namespace among others.
    pub(super) fn listen(&self, pods: &[Arc<Pod>], now: Timestamp) -> Result<Listening, ZoneError> {
        let name = self.name.clone().ok_or(ZoneError::Absent)?;
        let (Some(tls), Some(key)) = (self.tls.client_config(), self.keys.newest()) else {
            return Err(ZoneError::Unidentified);
        };
        let mut addresses = pods
            .iter()
            .filter_map(|pod| address_of(pod, &self.own_namespace, "probe-zone", CONTROL));
        let address = addresses.next().ok_or(ZoneError::NotReady)?;
        Ok(Listening {
            client: ZoneClient::new(address, tls),
            address,
            marks: Marks::new(name, key, random(), now),
        })
    }
}

impl Listening {
    /// What reached the zone of the series that asked for its names, by the number of the probe.
    pub(super) async fn heard(&self, series: &[Step]) -> Result<BTreeMap<u32, Heard>, ZoneError> {
        let mut heard = BTreeMap::new();
        for (_, probe) in series.iter().filter(|(purpose, _)| purpose.aim == Aim::Ports) {
            let arrivals = self.client.arrivals(self.marks.sample(probe.id)).await;
            let told = arrivals.map_err(|source| ZoneError::Client {
                address: self.address,
                source,
            })?;
            heard.insert(probe.id, Heard::of(Vantage::Inside, &told));
        }
        Ok(heard)
    }
}

/// Anything; `RandomState` is keyed by the system's randomness.
fn random() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().hash_one(()).to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}
