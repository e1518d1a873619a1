//! What outlives a kill -9: the session outlives its node, what was received outlives its receiver.

use std::fs;

use anyhow::{Context, ensure};

use super::{FILE_BYTES, PART_BYTES, Stage, end, hear, pair, partials, say, wait_arrived, wait_under_way};
use crate::demo::{FILE_STEP, STEP};

/// \[SES-8\] \[SES-12\] The node is killed in the middle of a file and started again: both are back by themselves, and nothing
/// is lost, doubled or out of order.
pub(super) fn node_killed(stage: &Stage<'_>) -> anyhow::Result<()> {
    let (file, hash) = stage.file()?;
    let node = stage.node()?;
    let party = stage.party(&node)?;
    let (mut ada, mut bob, _) = pair(&party)?;
    say(&mut ada, &mut bob, "before, from Ada")?;
    say(&mut bob, &mut ada, "before, from Bob")?;
    ada.line(&format!("/send \"{}\" to {}", file.display(), bob.number))?;
    wait_under_way(&mut bob)?;
    node.kill()?;
    for person in [&mut ada, &mut bob] {
        person.wait(STEP, "the loss of the node", |event| {
            event["event"] == "state" && event["state"] == "reconnecting"
        })?;
    }
    let partial =
        partials(stage, "bob")?.pop().context("the file was complete before the node was killed")?;
    ensure!(fs::metadata(&partial)?.len() < FILE_BYTES, "nothing of the file was left to send");
    // Said while there is no node; it waits.
    ada.line("/say meanwhile, from Ada")?;
    node.start_again(stage.programs, None)?;
    for person in [&mut ada, &mut bob] {
        person.wait(FILE_STEP, "being back", |event| event["event"] == "reattached")?;
    }
    hear(&mut ada, "meanwhile, from Ada")?;
    hear(&mut bob, "meanwhile, from Ada")?;
    wait_arrived(&mut ada, &mut bob, &hash)?;
    ensure!(partials(stage, "bob")?.is_empty(), "a partial file was left behind");
    say(&mut bob, &mut ada, "after, from Bob")?;
    say(&mut ada, &mut bob, "after, from Ada")?;
    end(&mut ada, &mut bob)?;
    node.stop()
}

/// The receiver is killed in the middle of a file and joins anew: of the same file only the rest is sent.
pub(super) fn endpoint_killed(stage: &Stage<'_>) -> anyhow::Result<()> {
    let (file, hash) = stage.file()?;
    let node = stage.node()?;
    let party = stage.party(&node)?;
    let (mut ada, mut bob, _) = pair(&party)?;
    let gone = bob.number;
    ada.line(&format!("/send \"{}\" to {gone}", file.display()))?;
    wait_under_way(&mut bob)?;
    bob.kill()?;
    let partial =
        partials(stage, "bob")?.pop().context("the file was complete before its receiver was killed")?;
    let kept_bytes = fs::metadata(&partial)?.len();
    ensure!((PART_BYTES..FILE_BYTES).contains(&kept_bytes), "{kept_bytes} bytes were kept");
    // Removed, so that nothing more is sent to who is gone.
    ada.line(&format!("/remove {gone}"))?;
    ada.wait(STEP, "the removal", |event| event["event"] == "removal_complete" && event["number"] == gone)?;
    for event_name in ["file_refused", "file_failed"] {
        ada.wait(STEP, "the file's end", |event| event["event"] == event_name)?;
    }

    let seen_bytes = fs::metadata(stage.tap())?.len();
    ada.line("/invite customer")?;
    let code = ada.code("customer")?;
    let mut bob = party.join("bob", "Bob", &code)?;
    ensure!(bob.number != gone, "a number was used twice");
    bob.wait_members(2)?;
    ada.line(&format!("/send \"{}\" to {}", file.display(), bob.number))?;
    wait_arrived(&mut ada, &mut bob, &hash)?;
    ensure!(partials(stage, "bob")?.is_empty(), "a partial file was left behind");
    end(&mut ada, &mut bob)?;
    node.stop()?;

    // Half of what was kept is more than everything else that was said since.
    let seen_bytes = fs::metadata(stage.tap())?.len() - seen_bytes;
    ensure!(
        seen_bytes < FILE_BYTES - kept_bytes / 2,
        "{kept_bytes} of {FILE_BYTES} bytes were there, and yet {seen_bytes} went through the node"
    );
    Ok(())
}
