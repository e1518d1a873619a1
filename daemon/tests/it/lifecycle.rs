//! Start, readiness, drain, and a second one on the same folder.

use proto_spec::Refusal;
use proto_spec::frame::ControlFrame;
use rustix::process::Signal;
use sealcast_rpc as rpc;

use super::support::{Attachment, Caller, Relayd, get, relayd};

#[tokio::test]
async fn a_second_one_on_the_same_folder_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let node = Relayd::dev(&state);
    let output = relayd().args(["dev", "--port", "0", "--state"]).arg(&state).output().unwrap();
    let talk = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(talk.contains("another relayd (process") && talk.contains("stop it first"), "{talk}");
    // The first one has not noticed.
    node.admin().await.show_node(rpc::ShowNodeRequest::default()).await.unwrap();
}

#[tokio::test]
async fn what_dev_made_is_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut node = Relayd::dev(&state);
    let (password, ca) = (node.password(), std::fs::read(node.ca()).unwrap());
    node.signal(Signal::TERM);
    assert!(node.wait().success());
    assert!(!state.join("admin.sock").exists());

    let node = Relayd::dev(&state);
    assert_eq!((node.password(), std::fs::read(node.ca()).unwrap()), (password.clone(), ca));
    let mut caller = Caller::connect(node.address(), &node.ca()).await;
    caller.login("provider@dev.local", &password).await.unwrap();
    assert!(get(node.ops(), "/livez").await.starts_with("HTTP/1.1 200 "));
    assert!(get(node.ops(), "/readyz").await.starts_with("HTTP/1.1 200 "));
}

async fn attached(node: &Relayd) -> (Caller, rpc::CreateSessionReply, Attachment) {
    let mut caller = Caller::connect(node.address(), &node.ca()).await;
    caller.login("provider@dev.local", &node.password()).await.unwrap();
    let session = caller.create_session().await.unwrap();
    let mut attachment =
        Attachment::open(node.address(), &node.ca(), &session.ticket, &caller.attach_key, 1).await;
    attachment.until(|frame| matches!(frame, ControlFrame::Attached(_))).await;
    (caller, session, attachment)
}

/// \[ATT-10\]: a drain is announced, readiness goes first, the process ends when the last one has left.
#[tokio::test]
async fn sigterm_ends_politely() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Relayd::dev(&folder.path().join("state"));
    let (_caller, session, mut attachment) = attached(&node).await;
    let id = rpc::SessionRequest { session_id: session.session_id };
    let shown = node.admin().await.show_session(id).await.unwrap().into_inner();
    assert_eq!((shown.members[0].state.as_str(), shown.provider.as_str()), ("active", "provider@dev.local"));
    let list = rpc::ListSessionsRequest { ended_too: false, after: Vec::new(), limit: 0 };
    let listed = node.admin().await.list_sessions(list).await.unwrap().into_inner();
    assert_eq!((listed.sessions.len(), listed.sessions[0].members[0].number), (1, 1));

    node.signal(Signal::TERM);
    attachment.until(|frame| matches!(frame, ControlFrame::Move(_))).await;
    let ready = get(node.ops(), "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.ends_with("draining\n"), "{ready}");
    attachment.send(&ControlFrame::Detach).await;
    drop(attachment);
    assert!(node.wait().success());
}

/// Who does not leave is told that he may come back, and a second signal does not wait for him.
#[tokio::test]
async fn who_stays_is_ended_and_a_second_signal_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Relayd::dev(&folder.path().join("state"));
    let (_caller, _session, mut attachment) = attached(&node).await;
    node.signal(Signal::TERM);
    let error = attachment.until(|frame| matches!(frame, ControlFrame::Error(_))).await;
    let ControlFrame::Error(error) = error else { unreachable!() };
    assert!(error.refusal == Refusal::Draining && error.refusal.resumable());
    assert!(node.wait().success());

    let folder = tempfile::tempdir().unwrap();
    let mut node = Relayd::dev(&folder.path().join("state"));
    let (_caller, _session, mut attachment) = attached(&node).await;
    node.signal(Signal::TERM);
    attachment.until(|frame| matches!(frame, ControlFrame::Move(_))).await;
    node.signal(Signal::INT);
    assert!(node.wait().success());
}

/// \[TMB-3\]: a ticket of a session that ended is refused, by a node that was started anew, too.
#[tokio::test]
async fn what_ended_stays_ended_across_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut node = Relayd::dev(&state);
    let (mut caller, session, mut attachment) = attached(&node).await;
    let proof = Some(caller.proof(&session.ticket));
    caller.client.end_session(rpc::EndSessionRequest { proof }).await.unwrap();
    attachment.until(|frame| matches!(frame, ControlFrame::Ended(_))).await;
    node.kill();

    let node = Relayd::dev(&state);
    let mut late = Attachment::open(node.address(), &node.ca(), &session.ticket, &caller.attach_key, 2).await;
    let refused = late
        .until(|frame| {
            matches!(frame, ControlFrame::Ended(_) | ControlFrame::Error(_) | ControlFrame::Attached(_))
        })
        .await;
    let ended = match refused {
        ControlFrame::Ended(ended) => ended.reason,
        ControlFrame::Error(error) => error.refusal,
        other => panic!("attached to an ended session: {other:?}"),
    };
    assert_eq!(ended, Refusal::SessionEnded);
}

/// What happens at INFO can be read by everybody who reads logs: no address, no account, no ticket in it.
#[tokio::test]
async fn the_log_names_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Relayd::dev_with(&folder.path().join("state"), &["--port", "0", "--log-level", "info"]);
    let (mut caller, session, mut attachment) = attached(&node).await;
    caller.login("provider@dev.local", "not-this-1-either").await.unwrap_err();
    caller.login("nobody@example.org", "not-this-1-either").await.unwrap_err();
    let proof = Some(caller.proof(&session.ticket));
    let role = rpc::MemberRole::Customer.into();
    let number = caller.client.open_join(rpc::OpenJoinRequest { proof, role }).await.unwrap().into_inner();
    let proof = Some(caller.proof(&session.ticket));
    caller.client.end_session(rpc::EndSessionRequest { proof }).await.unwrap();
    attachment.until(|frame| matches!(frame, ControlFrame::Ended(_))).await;
    node.signal(Signal::TERM);
    assert!(node.wait().success());
    let talk = node.talk();
    assert!(talk.contains("\"ready\"") && talk.contains("\"ended\""), "{talk}");
    let number = number.session_number.to_string();
    for secret in ["provider@", "nobody@", "127.0.0.1", &session.ticket[..20], &number, "not-this-1"] {
        assert!(!talk.contains(secret), "{secret} in {talk}");
    }
}
