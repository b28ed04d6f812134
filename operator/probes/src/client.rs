//! The controller's side of a prober.
//!
//! One connection per batch. The answer is held against the question: a prober that leaves out, adds or changes a probe, or stands elsewhere than
//! it was declared, is not believed.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper::{Request, header::CONTENT_TYPE};
use rustls::ClientConfig;
use serde::{Serialize, de::DeserializeOwned};
use tsutsumi_model::{Collect, Collected, Observation, Probe, Vantage};

use crate::{
    call::{CallError, Caller, Limits},
    run::{BATCH_DEADLINE, Batch, BatchError},
    tls::Role,
};

const LIMITS: Limits = Limits {
    deadline: Duration::from_secs(BATCH_DEADLINE.as_secs() + 15),
    largest_response: 32 * 1024 * 1024,
};

/// 1,024 names take less than half of it.
const NAMES_LIMITS: Limits = Limits {
    deadline: Duration::from_secs(10),
    largest_response: 1024 * 1024,
};

/// A prober, by its address.
#[derive(Clone, Debug)]
pub struct ProberClient {
    caller: Caller,
    vantage: Vantage,
}

/// A prober brought no observations.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProberError {
    /// The batch is none.
    #[error("cannot send the probes as one batch")]
    Batch(#[from] BatchError),
    /// The prober did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The response is not what was asked for.
    #[error("cannot read the response of the prober at {address}")]
    Decode {
        /// The prober.
        address: SocketAddr,
        /// Why.
        source: serde_json::Error,
    },
    /// The request cannot be written.
    #[error("cannot write the request for the prober at {address}")]
    Encode {
        /// The prober.
        address: SocketAddr,
        /// Why.
        source: serde_json::Error,
    },
    /// The observations are not those of the probes sent.
    #[error("the prober at {address} answered {answered} probes that are not the {asked} asked")]
    Unasked {
        /// The prober.
        address: SocketAddr,
        /// How many probes were sent.
        asked: usize,
        /// How many observations came.
        answered: usize,
    },
    /// The prober stands elsewhere.
    #[error("the prober at {address} says that it stands {found}; it was declared as {declared}")]
    WrongVantage {
        /// The prober.
        address: SocketAddr,
        /// What the controller was told.
        declared: Vantage,
        /// What the prober says.
        found: Vantage,
    },
}

impl ProberClient {
    /// A prober at this address that was declared to stand at this vantage.
    #[must_use]
    pub fn new(address: SocketAddr, vantage: Vantage, tls: Arc<ClientConfig>) -> Self {
        Self {
            caller: Caller::new(address, Role::Prober, tls),
            vantage,
        }
    }

    /// Where the prober was declared to stand.
    #[must_use]
    pub fn vantage(&self) -> Vantage {
        self.vantage
    }

    /// Lets the prober run the probes. One observation for each, in their order.
    pub async fn run(&self, probes: Vec<Probe>) -> Result<Vec<Observation>, ProberError> {
        let batch = Batch::try_from(probes)?;
        let seen = self.post("/v1/probe", batch.probes(), LIMITS).await?;
        self.believe(&batch, seen)
    }

    /// Lets the prober collect the names that these resolvers are asked for, or go on with it, and brings those that it
    /// has. For no time at all it stops, and forgets them.
    pub async fn collect(&self, asked: &Collect) -> Result<Collected, ProberError> {
        self.post("/v1/names", asked, NAMES_LIMITS).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &'static str,
        asked: &(impl Serialize + ?Sized),
        limits: Limits,
    ) -> Result<T, ProberError> {
        let address = self.caller.address();
        let body = serde_json::to_vec(asked).map_err(|source| ProberError::Encode { address, source })?;
        let request = Request::post(path).header(CONTENT_TYPE, "application/json");
        let answer = self.caller.call(request, body.into(), limits).await?;
        serde_json::from_slice(&answer).map_err(|source| ProberError::Decode { address, source })
    }

    fn believe(&self, batch: &Batch, seen: Vec<Observation>) -> Result<Vec<Observation>, ProberError> {
        let address = self.caller.address();
        let asked = batch.probes();
        if !asked.iter().eq(seen.iter().map(|seen| &seen.probe)) {
            return Err(ProberError::Unasked {
                address,
                asked: asked.len(),
                answered: seen.len(),
            });
        }
        match seen.iter().find(|seen| seen.vantage != self.vantage) {
            Some(elsewhere) => Err(ProberError::WrongVantage {
                address,
                declared: self.vantage,
                found: elsewhere.vantage,
            }),
            None => Ok(seen),
        }
    }
}
