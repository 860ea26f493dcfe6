//! A destination whose disk is full: nothing is lost, and it goes on by itself when there is room.

use anyhow::ensure;
use harness::faults::{Setup, on_stage};
use harness::image::Image;

const MIB: u64 = 1 << 20;

#[test]
fn full_disk_is_named_and_waited_for_until_there_is_room() {
    on_stage(Setup { tries: 20, disk: Some(4 * MIB), ..Setup::default() }, async |stage| {
        let small = stage.build(Image::small()?).await?;
        stage.push(&small).await?.succeeded_after(1)?;
        let built = stage.build(Image::builder().random_layer(8 * MIB as usize)?.finish()?).await?;
        stage.ask(&built).await?;
        let waiting = stage.waits(&built, "storage_full").await?;
        let message = waiting["status_message"].as_str().unwrap_or_default();
        ensure!(message.contains("Make room"), "{waiting}");
        stage.enterprise.resize_disk(64 * MIB)?;
        stage.over(&built).await?.succeeded()?;
        stage.enterprise.holds(&small.image, &stage.repository(), &small.hash).await
    });
}

#[test]
fn full_disk_that_stays_full_ends_with_the_tries() {
    on_stage(Setup { tries: 2, disk: Some(4 * MIB), ..Setup::default() }, async |stage| {
        let built = stage.build(Image::builder().random_layer(8 * MIB as usize)?.finish()?).await?;
        stage.push(&built).await?.failed_after(2, "storage_full")?;
        Ok(())
    });
}
