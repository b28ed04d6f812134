//! `DNS-01`: only internal clients are answered.

use anyhow::Result;
use tsutsumi_e2e::scenario::{self, From};
use tsutsumi_model::ControlId;

use crate::circle;

#[test]
fn a_client_outside_is_answered_then_refused_everywhere() -> Result<()> {
    scenario::run(From::Installed, async |s| {
        circle::go_around(
            s,
            "dns-01",
            ControlId::Dns01,
            async |s| s.outside_is_answered().await,
            async |s| s.outside_is_refused().await,
        )
        .await
    })
}
