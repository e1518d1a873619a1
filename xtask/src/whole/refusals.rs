//! Who is not let in, or not any more: what both sides are told, and the exit codes.

use anyhow::ensure;

use super::{Stage, end, pair, say};
use crate::demo::STEP;

/// \[SES-5\] Wrong words are refused and counted; the right ones still work, once.
pub(super) fn wrong_code(stage: &Stage<'_>) -> anyhow::Result<()> {
    let node = stage.node()?;
    let party = stage.party(&node)?;
    let mut ada = party.host("ada", "Ada")?;
    let code = ada.code("customer")?;
    let mut guesser = party.try_join("eve", "Eve", &wrong(&code))?;
    let said = guesser.wait_end_as("wrong_code", 4)?;
    ensure!(said.contains("the code is wrong"), "Eve was told: {said}");
    let told = ada.wait(STEP, "the wrong guess", |event| event["event"] == "wrong_code")?;
    ensure!(told["left"] == 4, "Ada was told: {told}");

    let mut bob = party.join("bob", "Bob", &code)?;
    ada.wait_members(2)?;
    bob.wait_members(2)?;
    ada.wait(STEP, "the code's end", |event| event["event"] == "code_ended" && event["reason"] == "used")?;

    // The number is closed with its code: no session is found under it.
    let mut late = party.try_join("eve", "Eve", &code)?;
    let said = late.wait_refusal(3)?;
    ensure!(said.contains("sealcast: "), "Eve was told nothing");
    say(&mut ada, &mut bob, "still here")?;
    end(&mut ada, &mut bob)?;
    node.stop()
}

/// \[SES-3\] Who proved the code and is not wanted is told so.
pub(super) fn denied(stage: &Stage<'_>) -> anyhow::Result<()> {
    let node = stage.node()?;
    let party = stage.party(&node)?;
    let mut ada = party.host_asking("ada", "Ada")?;
    let code = ada.code("customer")?;
    let mut bob = party.try_join("bob", "Bob", &code)?;
    let prompt = ada.wait(STEP, "the question", |event| event["event"] == "prompt")?;
    ensure!(
        prompt["question"]["kind"] == "join" && prompt["question"]["name"] == "Bob",
        "Ada was asked something else: {prompt}"
    );
    ada.line(&format!("/deny {}", prompt["prompt"]))?;
    let said = bob.wait_end_as("denied", 4)?;
    ensure!(said.contains("did not admit you"), "Bob was told: {said}");
    ada.line("/end")?;
    ada.wait_end()?;
    node.stop()
}

/// A number that never was and one that is closed look the same.
pub(super) fn no_such_session(stage: &Stage<'_>) -> anyhow::Result<()> {
    let node = stage.node()?;
    let party = stage.party(&node)?;
    let mut ada = party.host("ada", "Ada")?;
    let code = ada.code("customer")?;
    // The last digit is another one.
    let (number, words) = code.split_once(' ').unwrap_or((&code, ""));
    let last = if number.ends_with('0') { '1' } else { '0' };
    let never = format!("{}{last} {words}", &number[..number.len() - 1]);
    let never_said = party.try_join("bob", "Bob", &never)?.wait_refusal(3)?;
    ada.line("/end")?;
    ada.wait_end()?;
    let closed_said = party.try_join("bob", "Bob", &code)?.wait_refusal(3)?;
    ensure!(!never_said.is_empty() && never_said == closed_said, "{never_said}\nis not{closed_said}");
    node.stop()
}

/// \[SES-9\] The leader removes the customer: one knows when it is complete, the other why it ended.
pub(super) fn removed(stage: &Stage<'_>) -> anyhow::Result<()> {
    let node = stage.node()?;
    let party = stage.party(&node)?;
    let (mut ada, mut bob, _) = pair(&party)?;
    ada.line(&format!("/remove {}", bob.number))?;
    let number = bob.number;
    ada.wait(STEP, "the removal", |event| event["event"] == "removal_complete" && event["number"] == number)?;
    let said = bob.wait_end_as("removed", 4)?;
    ensure!(said.contains("removed"), "Bob was told: {said}");
    ada.line("/end")?;
    ada.wait_end()?;
    node.stop()
}

/// The same number with its words in another order, or other words where that changes nothing.
fn wrong(code: &str) -> String {
    let (number, words) = code.split_once(' ').unwrap_or((code, ""));
    let mut turned: Vec<&str> = words.split('-').collect();
    turned.rotate_left(1);
    let turned = turned.join("-");
    if turned == words { format!("{number} zoo-zoo-lucky") } else { format!("{number} {turned}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_code_is_a_code_and_wrong() {
        assert_eq!(wrong("483-920-117 lucky-ocean-zoo"), "483-920-117 ocean-zoo-lucky");
        assert_eq!(wrong("483-920-117 zoo-zoo-zoo"), "483-920-117 zoo-zoo-lucky");
    }
}
