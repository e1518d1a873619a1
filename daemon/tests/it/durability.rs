//! kill -9 at any moment loses nothing that was acknowledged.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sealcast_rpc::{self as rpc, TailAuditRequest};
use sealcast_trust::audit::{AuditLink, Head, verify_chain};
use tokio_stream::StreamExt;

use super::support::{Relayd, new_account};

const ROUNDS: usize = 50;

/// Adds accounts until the process is killed under way, at points drawn from a seed, fifty times; then everything that
/// was acknowledged is there, and the audit is one chain.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_crashes_lose_nothing_acknowledged() {
    let mut rng = ChaCha20Rng::seed_from_u64(0x5ea1_ca57);
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..ROUNDS {
        let mut node = Relayd::dev(&state);
        let before = rng.next_u32() % 3;
        for index in 0..before {
            let email = format!("r{round}-{index}@example.org");
            node.admin().await.add_account(new_account(&email)).await.unwrap();
            acknowledged.push(email);
        }
        // One or more under way; the process dies at some point of them, before the first byte or after the answer.
        let spins = rng.next_u32() % 60_000;
        let under_way: Vec<_> = (0..1 + rng.next_u32() % 3)
            .map(|index| {
                let email = format!("r{round}-u{index}@example.org");
                let socket = state.join("admin.sock");
                tokio::spawn(async move {
                    let mut admin = super::support::admin_on(socket).await;
                    admin.add_account(new_account(&email)).await.is_ok().then_some(email)
                })
            })
            .collect();
        for _ in 0..spins {
            tokio::task::yield_now().await;
        }
        node.kill();
        for task in under_way {
            // A task that could not even connect has acknowledged nothing.
            if let Ok(Some(email)) = task.await {
                acknowledged.push(email);
            }
        }
    }

    let node = Relayd::dev(&state);
    let mut admin = node.admin().await;
    let mut found = std::collections::BTreeSet::new();
    let mut after = String::new();
    loop {
        let page =
            admin.list_accounts(rpc::ListAccountsRequest { after, limit: 50 }).await.unwrap().into_inner();
        found.extend(page.accounts.iter().map(|account| account.email.clone()));
        match page.accounts.last() {
            Some(last) if page.more => after = last.email.clone(),
            _ => break,
        }
    }
    let lost: Vec<&String> = acknowledged.iter().filter(|email| !found.contains(*email)).collect();
    assert!(
        lost.is_empty(),
        "{} of {} acknowledged accounts are lost: {lost:?}",
        lost.len(),
        acknowledged.len()
    );
    assert!(
        acknowledged.len() >= ROUNDS / 2,
        "only {} acknowledged: the test proves little",
        acknowledged.len()
    );

    let tail = TailAuditRequest { from_index: 1, follow: false, last: 0 };
    let mut records = admin.tail_audit(tail).await.unwrap().into_inner();
    let mut links = Vec::new();
    while let Some(record) = records.next().await {
        let record = record.unwrap();
        links.push(AuditLink { canonical: record.canonical, hash: record.hash.try_into().unwrap() });
    }
    let summary = verify_chain(Head::genesis("dev"), links, []).unwrap();
    assert!(
        summary.records >= found.len() as u64,
        "{} records for {} accounts",
        summary.records,
        found.len()
    );
}
