//! `GET /metrics` at an endpoint, and of what comes back the families of [`MetricName`] alone.
//!
//! The rest of the page is dropped here, so no text that a workload chose travels further, but the labels of those
//! families.
//!
//! [`MetricName`]: tsutsumi_model::MetricName

mod text;

use axum::body::Bytes;
use http_body_util::Full;
use hyper::{
    Request, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, HOST},
};
use tokio::time::timeout;
use tsutsumi_model::{Endpoint, Failure, MetricSample};

use crate::{
    dns::failure,
    egress::Pass,
    http::{HttpError, exchange},
};

/// CoreDNS with few zones serves about 100 kB.
const LARGEST_PAGE: usize = 1024 * 1024;

/// Fetches and selects.
pub(crate) async fn fetch(target: Endpoint, pass: &Pass<'_>) -> Result<Vec<MetricSample>, Failure> {
    timeout(pass.patience(), page(target, pass))
        .await
        .unwrap_or(Err(Failure::Timeout))
}

async fn page(target: Endpoint, pass: &Pass<'_>) -> Result<Vec<MetricSample>, Failure> {
    let request = Request::get("/metrics")
        .header(HOST, target.to_string())
        .header(ACCEPT, "text/plain;version=0.0.4")
        .header(ACCEPT_ENCODING, "identity")
        .header(CONNECTION, "close")
        .body(Full::<Bytes>::default())
        .map_err(|error| {
            tracing::warn!(%error, %target, "cannot write the metrics request");
            Failure::Malformed
        })?;
    let stream = pass.connect().await.map_err(|error| failure(&error))?;
    let response = exchange(stream, request, LARGEST_PAGE)
        .await
        .map_err(|error| classify(&error))?;
    if response.status != StatusCode::OK || response.encoded {
        tracing::debug!(%target, status = response.status.as_u16(), encoded = response.encoded, "no metrics page");
        return Err(Failure::Malformed);
    }
    text::parse(&response.body).map_err(|error| {
        tracing::debug!(%target, %error, "metrics page cannot be read");
        Failure::Malformed
    })
}

fn classify(error: &HttpError) -> Failure {
    if let Some(io) = error.io() {
        return failure(io);
    }
    tracing::debug!(%error, "metrics exchange failed");
    if error.is_closed() {
        Failure::Closed
    } else {
        Failure::Malformed
    }
}
