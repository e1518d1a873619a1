//! Invite files and probes.

use proto_spec::invite::{DEFAULT_PORTS, INVITE_LENGTH_MAX, Invite, InviteError};
use proto_spec::probe;

const INVITE: &str = "version = 1\nmesh = \"m\"\nca = \"\"\n[[nodes]]\nhost = \"a.example\"\n";

/// [INV-1], [INV-2]
#[test]
fn invites_read_back_and_refuse_what_they_are_not() {
    let invite = Invite::parse(INVITE).unwrap();
    assert_eq!(invite.nodes[0].ports, DEFAULT_PORTS);
    assert_eq!(Invite::parse(&invite.to_text()).unwrap(), invite);
    let refuse = |text: &str| Invite::parse(text).unwrap_err();
    assert!(matches!(refuse(&INVITE.replace("version = 1", "version = 2")), InviteError::Version(2)));
    assert!(matches!(refuse(&format!("colour = 1\n{INVITE}")), InviteError::Malformed(_)));
    assert!(matches!(refuse(&format!("{INVITE}ports = []\n")), InviteError::NoNodes));
    let padded = |length: usize| format!("{INVITE}#{}", "x".repeat(length - INVITE.len() - 1));
    assert!(Invite::parse(&padded(INVITE_LENGTH_MAX)).is_ok());
    assert!(matches!(refuse(&padded(INVITE_LENGTH_MAX + 1)), InviteError::TooLong));
}

/// [PRB-1]: an answer is as long as its question and carries its token.
#[test]
fn probes_answer_with_the_token() {
    let question = probe::question(*b"tokentok");
    let answer = probe::answer(&question).unwrap();
    assert_eq!(&answer, b"SCPRESP1tokentok");
    assert_eq!(answer.len(), question.len());
    assert_eq!(probe::answer(&answer), None, "an answer is no question");
}
