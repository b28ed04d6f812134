//! Without a fault: two changes end alike, which is what every other one is compared with.

use anyhow::Result;
use tsutsumi_e2e::faults::world;

#[test]
fn two_changes_without_a_fault_end_alike() -> Result<()> {
    world::run(async |world| {
        let (one, two) = (world.change(vec![]).await?, world.change(vec![]).await?);
        two.ends_like(&one)
    })
}
