//! The member roster: who is in the session, under which key epoch, by the leader's signature \[GRP-2\].
//!
//! Form only: whether a roster may follow the one held is `sealcast-mpsl`'s to decide.

use crate::coding::{DecodeError, Reader, Wire, put_var};
use crate::frame::DESTINATIONS_MAX;
use crate::id::{EpochId, SenderNumber};
use crate::ticket::Role;

/// Members of one session: what one frame can address \[GRP-2\].
pub const ROSTER_MEMBERS_MAX: usize = DESTINATIONS_MAX;
/// A member's display name in bytes of UTF-8 \[GRP-2\].
pub const MEMBER_NAME_LENGTH_MAX: usize = 64;
/// A whole roster: the fixed fields, all deputies, all members with the longest names.
pub const ROSTER_LENGTH_MAX: usize = 8
    + 32
    + 1
    + 2 * ROSTER_MEMBERS_MAX
    + 1
    + ROSTER_MEMBERS_MAX * (2 + 32 + 1 + 2 + MEMBER_NAME_LENGTH_MAX)
    + 32;

/// One member of the session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RosterMember {
    /// Its number, from its ticket.
    pub number: SenderNumber,
    /// Its Ed25519 member key, made for this join.
    pub key: [u8; 32],
    /// Provider or customer.
    pub role: Role,
    /// What it calls itself: a claim.
    pub name: String,
}

/// The roster of one epoch \[GRP-2\].
///
/// `epoch64 | creator[32] | count8 deputies16.. | count8 (number16 key[32] role8 name) .. | commitment[32]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Roster {
    /// The epoch that this roster makes.
    pub epoch: EpochId,
    /// The Ed25519 key that opened the session; never changes.
    pub creator: [u8; 32],
    /// Who may take over, in order.
    pub deputies: Vec<SenderNumber>,
    /// In ascending order of their numbers.
    pub members: Vec<RosterMember>,
    /// SHA-256 commitment to the group secret.
    pub commitment: [u8; 32],
}

impl Roster {
    /// The member with a number.
    pub fn member(&self, number: SenderNumber) -> Option<&RosterMember> {
        let index = self.members.binary_search_by_key(&number, |member| member.number).ok()?;
        self.members.get(index)
    }

    /// The member that made the epoch; a decoded roster always has one.
    pub fn leader(&self) -> Option<&RosterMember> {
        self.member(self.epoch.leader)
    }
}

impl Wire for Roster {
    fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.members.len() <= ROSTER_MEMBERS_MAX, "a roster of {} members", self.members.len());
        assert!(self.deputies.len() <= self.members.len(), "more deputies than members");
        self.epoch.encode(out);
        self.creator.encode(out);
        out.push(self.deputies.len() as u8);
        self.deputies.iter().for_each(|deputy| deputy.encode(out));
        out.push(self.members.len() as u8);
        for member in &self.members {
            member.number.encode(out);
            member.key.encode(out);
            out.push(member.role as u8);
            put_var(out, member.name.as_bytes());
        }
        self.commitment.encode(out);
    }

    /// Refuses what no honest leader makes: numbers or keys twice, members out of order, deputies that are no
    /// members or no providers, an epoch whose leader is no member \[GRP-3\].
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let epoch = EpochId::decode(reader)?;
        let creator = reader.array()?;
        let deputies = (0..count(reader, "roster deputies")?)
            .map(|_| SenderNumber::decode(reader))
            .collect::<Result<Vec<_>, _>>()?;
        let members =
            (0..count(reader, "roster members")?).map(|_| member(reader)).collect::<Result<Vec<_>, _>>()?;
        let roster = Roster { epoch, creator, deputies, members, commitment: reader.array()? };
        roster.check()?;
        Ok(roster)
    }
}

impl Roster {
    fn check(&self) -> Result<(), DecodeError> {
        if !self.members.is_sorted_by(|one, next| one.number < next.number) {
            return Err(DecodeError::Malformed("order of roster members"));
        }
        for (index, member) in self.members.iter().enumerate() {
            if self.members[..index].iter().any(|earlier| earlier.key == member.key) {
                return Err(DecodeError::Malformed("roster: one key for two members"));
            }
        }
        for (index, deputy) in self.deputies.iter().enumerate() {
            if self.deputies[..index].contains(deputy) {
                return Err(DecodeError::Malformed("roster: a deputy twice"));
            }
            if self.member(*deputy).is_none_or(|member| member.role != Role::Provider) {
                return Err(DecodeError::Malformed("roster: a deputy that is no provider among the members"));
            }
        }
        match self.leader() {
            Some(_) => Ok(()),
            None => Err(DecodeError::Malformed("roster without its leader")),
        }
    }
}

fn count(reader: &mut Reader<'_>, what: &'static str) -> Result<usize, DecodeError> {
    let length = usize::from(reader.u8()?);
    if length > ROSTER_MEMBERS_MAX {
        return Err(DecodeError::TooLong { what, length, limit: ROSTER_MEMBERS_MAX });
    }
    Ok(length)
}

fn member(reader: &mut Reader<'_>) -> Result<RosterMember, DecodeError> {
    Ok(RosterMember {
        number: SenderNumber::decode(reader)?,
        key: reader.array()?,
        role: Role::from_u8(reader.u8()?).ok_or(DecodeError::Malformed("role of a roster member"))?,
        name: reader.text("name of a roster member", MEMBER_NAME_LENGTH_MAX)?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: u16) -> SenderNumber {
        SenderNumber::new(value).unwrap()
    }

    fn roster(numbers: &[u16]) -> Roster {
        Roster {
            epoch: EpochId { term: 0, leader: number(1), count: 7 },
            creator: [9; 32],
            deputies: vec![],
            members: numbers
                .iter()
                .map(|value| RosterMember {
                    number: number(*value),
                    key: [*value as u8; 32],
                    role: if value % 2 == 1 { Role::Provider } else { Role::Customer },
                    name: format!("member {value}"),
                })
                .collect(),
            commitment: [3; 32],
        }
    }

    /// \[GRP-2\]
    #[test]
    fn a_roster_survives_the_wire() {
        let mut sample = roster(&[1, 2, 3, 9]);
        sample.deputies = vec![number(9), number(3)];
        let bytes = sample.to_bytes();
        assert_eq!(Roster::from_bytes(&bytes), Ok(sample));
        for cut in 0..bytes.len() {
            assert!(Roster::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    /// \[GRP-3\]
    #[test]
    fn what_no_leader_makes_is_refused() {
        let refused = |roster: &Roster| Roster::from_bytes(&roster.to_bytes()).unwrap_err();
        assert_eq!(refused(&roster(&[2, 1])), DecodeError::Malformed("order of roster members"));
        assert_eq!(refused(&roster(&[1, 1])), DecodeError::Malformed("order of roster members"));
        assert_eq!(refused(&roster(&[2, 3])), DecodeError::Malformed("roster without its leader"));
        let mut twice = roster(&[1, 2]);
        twice.members[1].key = twice.members[0].key;
        assert_eq!(refused(&twice), DecodeError::Malformed("roster: one key for two members"));
        for deputies in [vec![number(2)], vec![number(5)], vec![number(3), number(3)]] {
            let mut sample = roster(&[1, 2, 3]);
            sample.deputies = deputies;
            assert!(matches!(refused(&sample), DecodeError::Malformed(_)));
        }
        let mut many = roster(&[1]).to_bytes();
        many[41] = ROSTER_MEMBERS_MAX as u8 + 1;
        assert!(matches!(Roster::from_bytes(&many), Err(DecodeError::TooLong { .. })));
    }

    #[test]
    fn the_longest_roster_has_the_stated_length() {
        let mut longest = roster(&[]);
        longest.members = (1..=ROSTER_MEMBERS_MAX as u16)
            .map(|value| RosterMember {
                number: number(value),
                key: [value as u8; 32],
                role: Role::Provider,
                name: "n".repeat(MEMBER_NAME_LENGTH_MAX),
            })
            .collect();
        longest.deputies = longest.members.iter().map(|member| member.number).collect();
        let bytes = longest.to_bytes();
        assert_eq!(bytes.len(), ROSTER_LENGTH_MAX);
        assert_eq!(Roster::from_bytes(&bytes), Ok(longest));
    }
}
