//! What the controller may ask over mutual TLS: `GET /v1/arrivals/<sample in hexadecimal>`.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use tsutsumi_model::Arrivals;

use crate::server::Desk;

pub(crate) fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/v1/arrivals/{sample}", get(arrivals))
        .with_state(desk)
}

async fn arrivals(
    State(desk): State<Arc<Desk>>,
    Path(sample): Path<String>,
) -> Result<Json<Arrivals>, (StatusCode, &'static str)> {
    let sample = u32::from_str_radix(&sample, 16).map_err(|_| {
        let right = "write the sample as up to 8 hexadecimal digits, for example /v1/arrivals/1f";
        (StatusCode::BAD_REQUEST, right)
    })?;
    Ok(Json(desk.tell(sample)))
}
