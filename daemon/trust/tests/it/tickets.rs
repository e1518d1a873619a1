//! Tickets that verify, and all those that must not.

use std::time::Duration;

use pasetors::keys::AsymmetricSecretKey;
use pasetors::version4::{PublicToken, V4};
use proto_spec::ticket::{Claims, Role, TICKET_IMPLICIT, TICKET_LENGTH_MAX, TicketKind};
use proto_spec::{NodeNumber, Refusal, SenderNumber, SessionId};
use sealcast_trust::ticket::{CLOCK_LEEWAY, LOBBY_VALIDITY_MAX, MEMBER_VALIDITY_MAX};
use sealcast_trust::{TicketError, issue};

use crate::mesh::{Mesh, NOW, contents};

pub(crate) fn claims(kind: TicketKind, validity: Duration) -> Claims {
    Claims {
        mesh: "m".into(),
        session: SessionId([7; 16]),
        number: SenderNumber::new(2).unwrap(),
        kind,
        role: Role::Customer,
        leader: SenderNumber::new(1).unwrap(),
        attach_key: [9; 32],
        issued: NOW,
        expires: NOW.plus(validity),
        rate_bytes: 0,
        account: 0,
        nodes: vec![NodeNumber::new(1).unwrap()],
    }
}

/// \[TKT-1\] \[TKT-3\] \[TKT-5\]: what was issued reads back, until the moment it expires.
#[test]
fn issued_tickets_verify_until_they_expire() {
    let mesh = Mesh::new("m");
    let (signer, key) = mesh.broker();
    let verifier = mesh.verifier(key);
    for (kind, validity) in
        [(TicketKind::Lobby, LOBBY_VALIDITY_MAX), (TicketKind::Member, MEMBER_VALIDITY_MAX)]
    {
        let claims = claims(kind, validity);
        let token = issue(&claims, &signer);
        assert_eq!(token, issue(&claims, &signer), "signing is deterministic");
        assert_eq!(verifier.verify(&token, NOW), Ok(claims.clone()));
        let last = claims.expires.minus(Duration::from_millis(1));
        assert!(verifier.verify(&token, last).is_ok());
        assert_eq!(verifier.verify(&token, claims.expires), Err(TicketError::Expired));
        let ahead = NOW.minus(CLOCK_LEEWAY);
        assert!(verifier.verify(&token, ahead).is_ok());
        let too_far = ahead.minus(Duration::from_millis(1));
        assert_eq!(verifier.verify(&token, too_far), Err(TicketError::NotYetValid));
    }
}

/// \[TKT-2\] \[TKT-4\]: another mesh's broker, a broker unknown here, the same key under another certificate.
#[test]
fn foreign_tickets_are_refused() {
    let ours = Mesh::new("m");
    let (_, key) = ours.broker();
    let verifier = ours.verifier(key);
    let (foreign, foreign_key) = Mesh::new("m").broker();
    let token = issue(&claims(TicketKind::Member, MEMBER_VALIDITY_MAX), &foreign);
    assert_eq!(verifier.verify(&token, NOW), Err(TicketError::Foreign));
    // A broker that is trusted, but for another mesh.
    let elsewhere = sealcast_trust::Verifier::new("other", [foreign_key]);
    assert_eq!(elsewhere.verify(&token, NOW), Err(TicketError::Foreign));
    assert_eq!(Refusal::from(TicketError::Foreign), Refusal::TicketForeign);
}

/// \[TKT-2\]: every altered byte, every prefix, every extension.
#[test]
fn altered_tickets_are_refused() {
    let mesh = Mesh::new("m");
    let (signer, key) = mesh.broker();
    let verifier = mesh.verifier(key);
    let token = issue(&claims(TicketKind::Lobby, LOBBY_VALIDITY_MAX), &signer);
    for index in 0..token.len() {
        for flip in [1u8, 2, 4, 16] {
            let mut bytes = token.clone().into_bytes();
            bytes[index] ^= flip;
            if let Ok(altered) = String::from_utf8(bytes) {
                assert!(verifier.verify(&altered, NOW).is_err(), "byte {index} flipped by {flip}");
            }
        }
        assert!(verifier.verify(&token[..index], NOW).is_err(), "cut at {index}");
    }
    for extended in [format!("{token}A"), format!("{token}."), format!("{token}="), format!(" {token}")] {
        assert!(verifier.verify(&extended, NOW).is_err());
    }
    assert_eq!(verifier.verify(&"v4.public.".repeat(300), NOW), Err(TicketError::Malformed));
    let long = format!("v4.public.{}", "A".repeat(TICKET_LENGTH_MAX));
    assert_eq!(verifier.verify(&long, NOW), Err(TicketError::Malformed));
}

/// Signs any payload with a broker's real key, as a broker gone wrong would.
fn signed(
    mesh: &Mesh,
    payload: &str,
    footer: Option<&str>,
    implicit: &[u8],
) -> (String, sealcast_trust::Verifier) {
    let issued = mesh.issue(&sealcast_trust::CertificateRole::Broker(NodeNumber::new(1).unwrap()));
    let key = sealcast_trust::key::signing_key_from_pem(contents(&issued.files, "broker-1.key")).unwrap();
    let secret = AsymmetricSecretKey::<V4>::from(&key.to_keypair_bytes()).unwrap();
    let hash: String = issued.identity.certificate.iter().map(|byte| format!("{byte:02x}")).collect();
    let own = format!("{{\"broker\":\"{hash}\"}}");
    let token = PublicToken::sign(
        &secret,
        payload.as_bytes(),
        Some(footer.unwrap_or(&own).as_bytes()),
        Some(implicit),
    );
    let broker = sealcast_trust::BrokerKey::new(&issued.identity).unwrap();
    (token.unwrap(), mesh.verifier(broker))
}

/// \[TKT-2\] \[TKT-3\] \[TKT-5\]: signed by a real broker, and still no ticket.
#[test]
fn well_signed_nonsense_is_refused() {
    let mesh = Mesh::new("m");
    let good = claims(TicketKind::Lobby, LOBBY_VALIDITY_MAX);
    let text = serde_json::to_string(&good).unwrap();
    let verdict = |payload: &str| {
        let (token, verifier) = signed(&mesh, payload, None, TICKET_IMPLICIT);
        verifier.verify(&token, NOW)
    };
    let altered = |change: &dyn Fn(&mut Claims)| {
        let mut claims = good.clone();
        change(&mut claims);
        verdict(&serde_json::to_string(&claims).unwrap())
    };
    assert_eq!(verdict(&text), Ok(good.clone()));
    // Unknown fields, unknown kinds, number 0, other JSON.
    assert_eq!(verdict(&text.replacen('{', "{\"more\":1,", 1)), Err(TicketError::Malformed));
    assert_eq!(verdict(&text.replace("\"lobby\"", "\"owner\"")), Err(TicketError::Malformed));
    assert_eq!(verdict(&text.replace("\"number\":2", "\"number\":0")), Err(TicketError::Malformed));
    assert_eq!(verdict("[]"), Err(TicketError::Malformed));
    assert_eq!(verdict("not json"), Err(TicketError::Malformed));
    // Longer than its kind may last.
    assert_eq!(
        altered(&|claims| claims.expires = NOW.plus(LOBBY_VALIDITY_MAX + Duration::from_millis(1))),
        Err(TicketError::Malformed)
    );
    assert_eq!(
        altered(&|claims| {
            claims.kind = TicketKind::Member;
            claims.expires = NOW.plus(MEMBER_VALIDITY_MAX + Duration::from_millis(1));
        }),
        Err(TicketError::Malformed)
    );
    assert_eq!(altered(&|claims| claims.expires = claims.issued), Err(TicketError::Malformed));
    assert_eq!(
        altered(&|claims| claims.nodes = vec![NodeNumber::new(1).unwrap(); 5]),
        Err(TicketError::Malformed)
    );
    assert_eq!(
        altered(&|claims| claims.number = claims.leader),
        Err(TicketError::Malformed),
        "a guest who leads"
    );
    assert_eq!(altered(&|claims| claims.mesh = "n".into()), Err(TicketError::Foreign));
    // Another token of the same broker: another implicit assertion.
    let (token, verifier) = signed(&mesh, &text, None, b"");
    assert_eq!(verifier.verify(&token, NOW), Err(TicketError::Foreign));
    let (token, verifier) = signed(&mesh, &text, Some("{}"), TICKET_IMPLICIT);
    assert_eq!(verifier.verify(&token, NOW), Err(TicketError::Malformed));
}

/// \[TKT-4\]: a broker's certificate ends its tickets.
#[test]
fn a_brokers_end_is_its_tickets_end() {
    let mesh = Mesh::new("m");
    let role = sealcast_trust::CertificateRole::Broker(NodeNumber::new(1).unwrap());
    let issued = mesh.issuing.issue(&role, &[], Some(Duration::from_secs(60)), NOW).unwrap();
    let key = sealcast_trust::key::signing_key_from_pem(contents(&issued.files, "broker-1.key")).unwrap();
    let signer = sealcast_trust::BrokerSigner::new(&issued.identity, key).unwrap();
    let verifier = mesh.verifier(sealcast_trust::BrokerKey::new(&issued.identity).unwrap());
    let token = issue(&claims(TicketKind::Member, MEMBER_VALIDITY_MAX), &signer);
    assert!(verifier.verify(&token, NOW.plus(Duration::from_secs(60))).is_ok());
    assert_eq!(verifier.verify(&token, NOW.plus(Duration::from_secs(61))), Err(TicketError::Expired));
}

proptest::proptest! {
    /// \[TKT-2\]: no text panics.
    #[test]
    fn any_text_is_refused_without_panic(text in ".{0,300}") {
        let verifier = sealcast_trust::Verifier::new("m", []);
        proptest::prop_assert!(verifier.verify(&text, NOW).is_err());
        let prefixed = format!("v4.public.{text}");
        proptest::prop_assert!(verifier.verify(&prefixed, NOW).is_err());
    }
}
