//! What the store holds, and how: one version byte, then JSON. Unknown fields are ignored and new ones have defaults, so
//! that a newer broker's records can be read after a step back.

use proto_spec::ticket::Role;
use proto_spec::{SenderNumber, SessionId, SessionNumber, WallTime};
use sealcast_trust::Head;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The form of every value written now.
const VALUE_VERSION: u8 = 1;

/// The bytes of a value.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![VALUE_VERSION];
    serde_json::to_writer(&mut bytes, value).expect("records are plain data");
    bytes
}

/// Reads a value; `None` when it is not one, or of a later form.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match bytes.split_first() {
        Some((&VALUE_VERSION, json)) => serde_json::from_slice(json).ok(),
        _ => None,
    }
}

/// What an account may do \[GW-2\].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountRole {
    /// Manages accounts.
    AccountAdmin,
    /// Manages nodes and sessions.
    NetworkAdmin,
    /// Gives support: opens sessions.
    Provider,
    /// Reads the audit.
    Auditor,
}

impl AccountRole {
    /// As written on the command line and in the audit.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccountAdmin => "account-admin",
            Self::NetworkAdmin => "network-admin",
            Self::Provider => "provider",
            Self::Auditor => "auditor",
        }
    }
}

/// An account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountRecord {
    /// Its number, never used again.
    pub id: u64,
    /// Normalised e-mail address.
    pub email: String,
    /// As others see it.
    pub display_name: String,
    /// What it may do, sorted.
    pub roles: Vec<AccountRole>,
    /// Argon2id, as a PHC string.
    pub password_hash: String,
    /// Locked by an administrator.
    #[serde(default)]
    pub locked: bool,
    /// Failed logins in a row.
    #[serde(default)]
    pub failures: u32,
    /// Soft lock after failures.
    #[serde(default)]
    pub locked_until: WallTime,
    /// When it was made.
    pub created: WallTime,
    /// Last successful login, 0 for never.
    #[serde(default)]
    pub last_login: WallTime,
    /// How many credentials it holds.
    #[serde(default)]
    pub credentials: u32,
    /// How many sessions it has opened, ever; makes openings of one account meet in a conditional commit.
    #[serde(default)]
    pub sessions_opened: u64,
}

/// A credential from a login.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CredentialRecord {
    /// Whose.
    pub account: u64,
    /// Its Ed25519 public key.
    pub key: [u8; 32],
    /// How the user recognises it.
    pub label: String,
    /// When it was issued.
    pub created: WallTime,
}

/// How a member of a session stands, by the broker's knowledge.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// Holds a lobby ticket.
    Lobby,
    /// Admitted.
    Member,
    /// Removed by the leader.
    Removed,
}

/// A member of a session, or a guest, or who was one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemberRecord {
    /// Its sender number.
    pub number: SenderNumber,
    /// Provider or customer.
    pub role: Role,
    /// How it stands.
    pub state: MemberState,
    /// The attach key that its tickets are bound to.
    pub attach_key: [u8; 32],
    /// Its account, 0 for a customer without one.
    pub account: u64,
    /// When its newest ticket ends.
    pub ticket_expires: WallTime,
    /// The number by which it found the session.
    pub joined_by: Option<Number>,
}

impl MemberRecord {
    /// Whether it counts against the session's limit: admitted, and with a ticket that still lasts.
    pub fn is_live_member(&self, now: WallTime) -> bool {
        self.state == MemberState::Member && now < self.ticket_expires
    }

    /// Whether it is a guest whose ticket still lasts.
    pub fn is_live_guest(&self, now: WallTime) -> bool {
        self.state == MemberState::Lobby && now < self.ticket_expires
    }
}

/// A session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// The account that opened it.
    pub account: u64,
    /// The creator's number.
    pub creator: SenderNumber,
    /// The leader's number.
    pub leader: SenderNumber,
    /// When it was opened.
    pub created: WallTime,
    /// When it ended, `None` while it lasts.
    pub ended: Option<WallTime>,
    /// The next number to allot; never falls \[ID-2\].
    pub next_number: u32,
    /// Members, guests, and those who were, in the order of their numbers.
    pub members: Vec<MemberRecord>,
    /// Open numbers.
    pub joins: Vec<Number>,
    /// The last moment at which any ticket of it ends: who is not back by then is not coming back.
    pub alive_until: WallTime,
}

impl SessionRecord {
    /// The entry of a number.
    pub fn member(&self, number: SenderNumber) -> Option<&MemberRecord> {
        self.members.iter().find(|member| member.number == number)
    }

    /// Members who count against the limit.
    pub fn live_members(&self, now: WallTime) -> usize {
        self.members.iter().filter(|member| member.is_live_member(now)).count()
    }

    /// Guests whose tickets last.
    pub fn live_guests(&self, now: WallTime) -> usize {
        self.members.iter().filter(|member| member.is_live_guest(now)).count()
    }
}

/// A session number in records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Number(pub SessionNumber);

impl Serialize for Number {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0.value())
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = SessionNumber::new(u32::deserialize(deserializer)?);
        number.map(Number).ok_or_else(|| serde::de::Error::custom("not nine digits"))
    }
}

/// An open number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JoinRecord {
    /// The session.
    pub session: SessionId,
    /// What the joiner will be.
    pub role: Role,
    /// When the number ends.
    pub expires: WallTime,
}

/// The end of the audit and its newest checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeadRecord {
    /// The last record and its link.
    pub head: Head,
    /// The last record with a checkpoint, 0 for none.
    pub checkpoint_index: u64,
    /// When that was signed.
    pub checkpoint_time: WallTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_say_their_version() {
        let bytes = encode(&7u64);
        assert_eq!(bytes, b"\x017");
        assert_eq!(decode::<u64>(&bytes), Some(7));
        assert_eq!(decode::<u64>(b"\x027"), None);
        assert_eq!(decode::<u64>(b""), None);
        assert_eq!(decode::<u64>(b"\x01x"), None);
    }

    #[test]
    fn older_records_read_with_defaults() {
        let old = br#"{"id":1,"email":"a@b","display_name":"A","roles":["provider"],"password_hash":"h","created":5,"new":1}"#;
        let record: AccountRecord = decode(&[&[1u8], &old[..]].concat()).unwrap();
        assert_eq!((record.failures, record.locked, record.roles[0]), (0, false, AccountRole::Provider));
    }
}
