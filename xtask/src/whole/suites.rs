//! The two suites: each works with itself, and a mixed pair is told so.

use anyhow::ensure;

use super::{Stage, end, pair, partials, say, wait_arrived};

/// \[SUI-3\] Two programs of the classic build talk and send a file.
pub(super) fn classic(stage: &Stage<'_>) -> anyhow::Result<()> {
    let (file, hash) = stage.file()?;
    let node = stage.node()?;
    let party = stage.party_with(&node, stage.classic)?;
    let (mut ada, mut bob, _) = pair(&party)?;
    say(&mut ada, &mut bob, "as it was then")?;
    say(&mut bob, &mut ada, "and is still")?;
    ada.line(&format!("/send \"{}\" to {}", file.display(), bob.number))?;
    wait_arrived(&mut ada, &mut bob, &hash)?;
    ensure!(partials(stage, "bob")?.is_empty(), "a partial file was left behind");
    end(&mut ada, &mut bob)?;
    node.stop()
}

/// \[SUI-1\] \[HSK-8\] A modern program is refused by a classic host, without a reason as every other is; no guess is
/// counted, and the code is still good for a classic program.
pub(super) fn suites_do_not_mix(stage: &Stage<'_>) -> anyhow::Result<()> {
    let node = stage.node()?;
    let party = stage.party_with(&node, stage.classic)?;
    let modern = stage.party(&node)?;
    let mut ada = party.host("ada", "Ada")?;
    let code = ada.code("customer")?;
    let said = modern.try_join("eve", "Eve", &code)?.wait_end_as("wrong_code", 4)?;
    ensure!(said.contains("the code is wrong or no longer valid"), "Eve was told: {said}");
    let mut bob = party.join("bob", "Bob", &code)?;
    // A counted guess would end this wait.
    ada.wait_members(2)?;
    bob.wait_members(2)?;
    say(&mut bob, &mut ada, "nothing was lost")?;
    end(&mut ada, &mut bob)?;
    node.stop()
}
