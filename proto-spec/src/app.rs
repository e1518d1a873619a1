//! What members say to each other inside the seal: control messages, chat, and what is for one member alone.
//!
//! Form only; what follows from a message is `sealcast-endpoint-core`'s.

use crate::coding::{DecodeError, Reader, Wire, put_var};
use crate::id::{SenderNumber, StreamId};
use crate::mpsl::roster::ROSTER_MEMBERS_MAX;
use crate::ticket::{Role, TICKET_LENGTH_MAX};

/// One chat line in bytes of UTF-8 \[APP-3\].
pub const CHAT_LENGTH_MAX: usize = 4_096;
/// A file's name in bytes of UTF-8 \[APP-4\].
pub const FILE_NAME_LENGTH_MAX: usize = 200;
/// A join code as text in bytes \[APP-9\].
pub const CODE_LENGTH_MAX: usize = 128;

/// A message of the control stream \[APP-1\]: `type8 | body`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Control {
    /// About a file.
    File(FileMessage),
    /// Provider to leader: please open a code \[APP-9\].
    CodeRequest {
        /// Counts this member's requests.
        request: u32,
        /// What the joiner will be.
        role: Role,
    },
    /// A member's user decided about a permission \[APP-8\].
    Consent {
        /// What was asked.
        permission: Permission,
        /// Whom the permission concerns.
        member: SenderNumber,
        /// Yes or no.
        granted: bool,
    },
    /// The member goes \[APP-7\].
    Goodbye {
        /// Why.
        reason: GoodbyeReason,
    },
}

/// What a consent is about \[APP-8\].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Permission {
    /// To see what the member shares.
    Member = 1,
    /// To have files received.
    Files = 2,
}

/// Why a member goes \[APP-7\].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum GoodbyeReason {
    /// It leaves; the session goes on.
    Left = 1,
    /// It ends the session, as far as its role lets it.
    Ended = 2,
}

/// Messages about files. A transfer is named by its sender's number and serial.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileMessage {
    /// A member offers a file \[APP-4\].
    Offer(FileOffer),
    /// A member answers an offer, once \[APP-5\].
    Answer {
        /// Who offered.
        sender: SenderNumber,
        /// Its serial.
        serial: u32,
        /// Yes or no.
        answer: FileAnswer,
    },
    /// The sender begins \[APP-5\].
    Start {
        /// Its serial.
        serial: u32,
        /// The byte of the file that comes first.
        offset: u64,
        /// The channel sequence that it comes with.
        first_sequence: u64,
        /// To whom, ascending; whoever is not named is not served.
        receivers: Vec<SenderNumber>,
    },
    /// A receiver has the whole file, or will not have it \[APP-6\].
    Done {
        /// Who sends.
        sender: SenderNumber,
        /// Its serial.
        serial: u32,
        /// Why not; `None` when the file is complete and its BLAKE3 right.
        failure: Option<FileReason>,
    },
    /// The sender gives up \[APP-6\].
    Cancel {
        /// Its serial.
        serial: u32,
        /// Towards this member alone; `None` for all.
        member: Option<SenderNumber>,
        /// Why.
        reason: FileReason,
    },
}

/// A file on offer \[APP-4\].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileOffer {
    /// Counts the sender's transfers, from 1.
    pub serial: u32,
    /// The stream of the file's bytes.
    pub stream: StreamId,
    /// Size in bytes.
    pub size: u64,
    /// BLAKE3 of the whole file: binds every byte to the signature of this message.
    pub blake3: [u8; 32],
    /// To whom, ascending; empty for every member.
    pub receivers: Vec<SenderNumber>,
    /// A claim; receivers make it safe before use.
    pub name: String,
}

/// A receiver's answer to an offer \[APP-5\].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileAnswer {
    /// Yes; so many bytes from the file's start are there already.
    Accept {
        /// In bytes.
        offset: u64,
    },
    /// No.
    Refuse {
        /// Why.
        reason: FileReason,
    },
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $sentence:literal;)*) => {
        /// Why a file is not sent or not received \[APP-6\].
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum FileReason {
            $($(#[$doc])* $name = $code,)*
        }

        impl FileReason {
            /// All of them, in the order of their codes.
            pub const ALL: &'static [FileReason] = &[$(FileReason::$name),*];

            /// `None` for codes that the registry does not hold.
            pub const fn from_u8(code: u8) -> Option<FileReason> {
                match code {
                    $($code => Some(FileReason::$name),)*
                    _ => None,
                }
            }

            /// One sentence for the user: what happened and what to do.
            pub const fn sentence(self) -> &'static str {
                match self { $(FileReason::$name => $sentence,)* }
            }
        }
    };
}

reasons! {
    /// The receiver's user said no.
    Declined = 1, "declined by the receiver";
    /// Nobody answered in time.
    TimedOut = 2, "nobody answered the offer in time: offer the file again";
    /// No room on the receiver's disk.
    DiskFull = 3, "the receiver's disk is full: make room there and send again; what has arrived is kept";
    /// The receiver has as many transfers as it may.
    Busy = 4, "too many files at once: wait until one is complete and send again";
    /// A user gave up.
    Cancelled = 5, "cancelled";
    /// The file is not what was offered any more.
    Changed = 6, "the file changed while it was being sent: send it again when nothing writes to it";
    /// The bytes that arrived do not have the BLAKE3 that was offered.
    Mismatch = 7, "what arrived is not the file that was offered: send it again";
    /// The sender cannot read the file.
    ReadFailed = 8, "the file cannot be read: check that it still exists and may be read";
    /// The receiver cannot write the file.
    WriteFailed = 9, "the file cannot be written: check the receiver's download folder; what has arrived is kept";
    /// The receiver fell too far behind the others.
    FellBehind = 10, "the receiver's connection fell too far behind: send again, it goes on from where it was";
    /// A message that makes no sense.
    Protocol = 11, "the other program sent something that makes no sense: update the older of the two";
    /// The other side left the session.
    Left = 12, "the other side left the session; what has arrived is kept";
    /// The answer came after the transfer had begun.
    TooLate = 13, "the answer came too late: ask for the file again";
    /// The receiver did not confirm that the file is complete.
    NotConfirmed = 14, "the receiver did not confirm the file in time: ask there, and send again if need be";
}

const TYPE_FILE_OFFER: u8 = 1;
const TYPE_FILE_ANSWER: u8 = 2;
const TYPE_FILE_START: u8 = 3;
const TYPE_FILE_DONE: u8 = 4;
const TYPE_FILE_CANCEL: u8 = 5;
const TYPE_CODE_REQUEST: u8 = 16;
const TYPE_CONSENT: u8 = 17;
const TYPE_GOODBYE: u8 = 18;

impl Wire for Control {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Control::File(message) => message.encode(out),
            Control::CodeRequest { request, role } => {
                out.push(TYPE_CODE_REQUEST);
                request.encode(out);
                out.push(*role as u8);
            }
            Control::Consent { permission, member, granted } => {
                out.push(TYPE_CONSENT);
                out.push(*permission as u8);
                member.encode(out);
                out.push(u8::from(*granted));
            }
            Control::Goodbye { reason } => {
                out.push(TYPE_GOODBYE);
                out.push(*reason as u8);
            }
        }
    }

    /// A type that the registry does not hold is [`DecodeError::Malformed`]; receivers ignore such a message \[APP-2\].
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            kind @ TYPE_FILE_OFFER..=TYPE_FILE_CANCEL => Control::File(FileMessage::body(kind, reader)?),
            TYPE_CODE_REQUEST => Control::CodeRequest { request: reader.u32()?, role: role(reader)? },
            TYPE_CONSENT => Control::Consent {
                permission: match reader.u8()? {
                    1 => Permission::Member,
                    2 => Permission::Files,
                    _ => return Err(DecodeError::Malformed("permission")),
                },
                member: SenderNumber::decode(reader)?,
                granted: flag(reader, "consent")?,
            },
            TYPE_GOODBYE => Control::Goodbye {
                reason: match reader.u8()? {
                    1 => GoodbyeReason::Left,
                    2 => GoodbyeReason::Ended,
                    _ => return Err(DecodeError::Malformed("reason of a goodbye")),
                },
            },
            _ => return Err(DecodeError::Malformed("type of control message")),
        })
    }
}

impl Wire for FileMessage {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            FileMessage::Offer(offer) => {
                out.push(TYPE_FILE_OFFER);
                offer.serial.encode(out);
                out.push(u8::try_from(offer.stream.0).expect("streams of files are below 64"));
                offer.size.encode(out);
                offer.blake3.encode(out);
                put_members(out, &offer.receivers);
                put_var(out, offer.name.as_bytes());
            }
            FileMessage::Answer { sender, serial, answer } => {
                out.push(TYPE_FILE_ANSWER);
                sender.encode(out);
                serial.encode(out);
                match answer {
                    FileAnswer::Accept { offset } => {
                        out.push(0);
                        offset.encode(out);
                    }
                    FileAnswer::Refuse { reason } => out.push(*reason as u8),
                }
            }
            FileMessage::Start { serial, offset, first_sequence, receivers } => {
                out.push(TYPE_FILE_START);
                serial.encode(out);
                offset.encode(out);
                first_sequence.encode(out);
                put_members(out, receivers);
            }
            FileMessage::Done { sender, serial, failure } => {
                out.push(TYPE_FILE_DONE);
                sender.encode(out);
                serial.encode(out);
                out.push(failure.map_or(0, |reason| reason as u8));
            }
            FileMessage::Cancel { serial, member, reason } => {
                out.push(TYPE_FILE_CANCEL);
                serial.encode(out);
                member.map_or(0, SenderNumber::value).encode(out);
                out.push(*reason as u8);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = reader.u8()?;
        Self::body(kind, reader)
    }
}

impl FileMessage {
    fn body(kind: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match kind {
            TYPE_FILE_OFFER => FileMessage::Offer(FileOffer {
                serial: reader.u32()?,
                stream: file_stream(reader)?,
                size: reader.u64()?,
                blake3: reader.array()?,
                receivers: members(reader)?,
                name: reader.text("file name", FILE_NAME_LENGTH_MAX)?.to_owned(),
            }),
            TYPE_FILE_ANSWER => FileMessage::Answer {
                sender: SenderNumber::decode(reader)?,
                serial: reader.u32()?,
                answer: match reason_or_none(reader)? {
                    None => FileAnswer::Accept { offset: reader.u64()? },
                    Some(reason) => FileAnswer::Refuse { reason },
                },
            },
            TYPE_FILE_START => FileMessage::Start {
                serial: reader.u32()?,
                offset: reader.u64()?,
                first_sequence: reader.u64()?,
                receivers: members(reader)?,
            },
            TYPE_FILE_DONE => FileMessage::Done {
                sender: SenderNumber::decode(reader)?,
                serial: reader.u32()?,
                failure: reason_or_none(reader)?,
            },
            TYPE_FILE_CANCEL => FileMessage::Cancel {
                serial: reader.u32()?,
                member: SenderNumber::new(reader.u16()?),
                reason: reason_or_none(reader)?.ok_or(DecodeError::Malformed("cancel without a reason"))?,
            },
            _ => return Err(DecodeError::Malformed("type of file message")),
        })
    }
}

/// A chat line \[APP-3\]: `type8 | text`, the text up to the record's end. UTF-8, no control characters but line feeds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chat {
    /// 1 to [`CHAT_LENGTH_MAX`] bytes.
    pub text: String,
}

const TYPE_CHAT_TEXT: u8 = 1;

impl Chat {
    /// `None` if it is empty, too long or holds control characters other than line feeds.
    pub fn new(text: impl Into<String>) -> Option<Chat> {
        let text = text.into();
        chat_text_is_fine(&text).then_some(Chat { text })
    }
}

fn chat_text_is_fine(text: &str) -> bool {
    let control = text.chars().any(|character| character.is_control() && character != '\n');
    !control && (1..=CHAT_LENGTH_MAX).contains(&text.len())
}

impl Wire for Chat {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(TYPE_CHAT_TEXT);
        out.extend_from_slice(self.text.as_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.u8()? != TYPE_CHAT_TEXT {
            return Err(DecodeError::Malformed("type of chat message"));
        }
        let text = std::str::from_utf8(reader.rest()).map_err(|_| DecodeError::Malformed("chat text"))?;
        Chat::new(text).ok_or(DecodeError::Malformed("chat text"))
    }
}

/// What the leader says to one member alone, pairwise sealed \[APP-9\] \[APP-10\].
#[derive(Clone, PartialEq, Eq)]
pub enum Private {
    /// The joiner's member ticket.
    MemberTicket {
        /// The token.
        ticket: String,
    },
    /// The code that a provider asked for.
    Code {
        /// Of the [`Control::CodeRequest`].
        request: u32,
        /// As people read it aloud.
        code: String,
        /// Seconds until it expires.
        expires_s: u32,
    },
    /// No code.
    CodeRefused {
        /// Of the [`Control::CodeRequest`].
        request: u32,
        /// As a sentence.
        reason: String,
    },
    /// A code that the member asked for can no longer be used.
    CodeEnded {
        /// Of the [`Control::CodeRequest`].
        request: u32,
        /// Why.
        reason: CodeEnd,
    },
}

impl std::fmt::Debug for Private {
    /// Tickets and codes are secrets: they are not printed by accident.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Private::MemberTicket { .. } => "MemberTicket(..)",
            Private::Code { .. } => "Code(..)",
            Private::CodeRefused { .. } => "CodeRefused(..)",
            Private::CodeEnded { .. } => "CodeEnded(..)",
        })
    }
}

/// Why a code can no longer be used \[APP-9\].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum CodeEnd {
    /// One joiner proved it.
    Used = 1,
    /// Its time is over.
    Expired = 2,
    /// Too many wrong proofs.
    Guessed = 3,
    /// Withdrawn, or a member was removed.
    Closed = 4,
}

const TYPE_PRIVATE_TICKET: u8 = 1;
const TYPE_PRIVATE_CODE: u8 = 2;
const TYPE_PRIVATE_CODE_REFUSED: u8 = 3;
const TYPE_PRIVATE_CODE_ENDED: u8 = 4;

impl Wire for Private {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Private::MemberTicket { ticket } => {
                out.push(TYPE_PRIVATE_TICKET);
                put_var(out, ticket.as_bytes());
            }
            Private::Code { request, code, expires_s } => {
                out.push(TYPE_PRIVATE_CODE);
                request.encode(out);
                put_var(out, code.as_bytes());
                expires_s.encode(out);
            }
            Private::CodeRefused { request, reason } => {
                out.push(TYPE_PRIVATE_CODE_REFUSED);
                request.encode(out);
                put_var(out, reason.as_bytes());
            }
            Private::CodeEnded { request, reason } => {
                out.push(TYPE_PRIVATE_CODE_ENDED);
                request.encode(out);
                out.push(*reason as u8);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            TYPE_PRIVATE_TICKET => {
                Private::MemberTicket { ticket: reader.text("ticket", TICKET_LENGTH_MAX)?.to_owned() }
            }
            TYPE_PRIVATE_CODE => Private::Code {
                request: reader.u32()?,
                code: reader.text("join code", CODE_LENGTH_MAX)?.to_owned(),
                expires_s: reader.u32()?,
            },
            TYPE_PRIVATE_CODE_REFUSED => Private::CodeRefused {
                request: reader.u32()?,
                reason: reader.text("reason", CHAT_LENGTH_MAX)?.to_owned(),
            },
            TYPE_PRIVATE_CODE_ENDED => Private::CodeEnded {
                request: reader.u32()?,
                reason: match reader.u8()? {
                    1 => CodeEnd::Used,
                    2 => CodeEnd::Expired,
                    3 => CodeEnd::Guessed,
                    4 => CodeEnd::Closed,
                    _ => return Err(DecodeError::Malformed("end of a code")),
                },
            },
            _ => return Err(DecodeError::Malformed("type of private message")),
        })
    }
}

fn role(reader: &mut Reader<'_>) -> Result<Role, DecodeError> {
    Role::from_u8(reader.u8()?).ok_or(DecodeError::Malformed("role"))
}

fn flag(reader: &mut Reader<'_>, what: &'static str) -> Result<bool, DecodeError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Malformed(what)),
    }
}

fn file_stream(reader: &mut Reader<'_>) -> Result<StreamId, DecodeError> {
    use crate::channel::{FILE_STREAM_FIRST, FILE_STREAM_LAST};
    match u32::from(reader.u8()?) {
        stream @ FILE_STREAM_FIRST..=FILE_STREAM_LAST => Ok(StreamId(stream)),
        _ => Err(DecodeError::Malformed("stream of a file")),
    }
}

fn reason_or_none(reader: &mut Reader<'_>) -> Result<Option<FileReason>, DecodeError> {
    match reader.u8()? {
        0 => Ok(None),
        code => FileReason::from_u8(code).map(Some).ok_or(DecodeError::Malformed("reason of a file")),
    }
}

fn put_members(out: &mut Vec<u8>, members: &[SenderNumber]) {
    assert!(members.len() <= ROSTER_MEMBERS_MAX, "a list of {} members", members.len());
    out.push(members.len() as u8);
    members.iter().for_each(|member| member.encode(out));
}

fn members(reader: &mut Reader<'_>) -> Result<Vec<SenderNumber>, DecodeError> {
    let length = usize::from(reader.u8()?);
    if length > ROSTER_MEMBERS_MAX {
        return Err(DecodeError::TooLong { what: "list of receivers", length, limit: ROSTER_MEMBERS_MAX });
    }
    let members = (0..length).map(|_| SenderNumber::decode(reader)).collect::<Result<Vec<_>, _>>()?;
    if !members.is_sorted_by(|one, next| one < next) {
        return Err(DecodeError::Malformed("order of receivers"));
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: u16) -> SenderNumber {
        SenderNumber::new(value).unwrap()
    }

    fn every_cut_is_refused<T: Wire + PartialEq + std::fmt::Debug>(value: &T) {
        let bytes = value.to_bytes();
        assert_eq!(T::from_bytes(&bytes).as_ref(), Ok(value));
        for cut in 0..bytes.len() {
            assert!(T::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(T::from_bytes(&[bytes, vec![0]].concat()).is_err());
    }

    fn offer() -> FileOffer {
        FileOffer {
            serial: 4,
            stream: StreamId(16),
            size: 1 << 40,
            blake3: [7; 32],
            receivers: vec![number(2), number(9)],
            name: "report.pdf".into(),
        }
    }

    /// \[APP-1\] \[APP-4\] \[APP-5\] \[APP-6\] \[APP-7\] \[APP-8\] \[APP-9\]
    #[test]
    fn control_messages_survive_the_wire() {
        let sender = number(3);
        let reason = FileReason::DiskFull;
        let file = [
            FileMessage::Offer(offer()),
            FileMessage::Answer { sender, serial: 4, answer: FileAnswer::Accept { offset: 99 } },
            FileMessage::Answer { sender, serial: 4, answer: FileAnswer::Refuse { reason } },
            FileMessage::Start { serial: 4, offset: 99, first_sequence: 12, receivers: vec![sender] },
            FileMessage::Done { sender, serial: 4, failure: None },
            FileMessage::Done { sender, serial: 4, failure: Some(reason) },
            FileMessage::Cancel { serial: 4, member: None, reason },
            FileMessage::Cancel { serial: 4, member: Some(sender), reason },
        ];
        for message in file {
            every_cut_is_refused(&message);
            every_cut_is_refused(&Control::File(message));
        }
        every_cut_is_refused(&Control::CodeRequest { request: 1, role: Role::Provider });
        for permission in [Permission::Member, Permission::Files] {
            every_cut_is_refused(&Control::Consent { permission, member: sender, granted: true });
        }
        for reason in [GoodbyeReason::Left, GoodbyeReason::Ended] {
            every_cut_is_refused(&Control::Goodbye { reason });
        }
    }

    /// \[APP-9\] \[APP-10\]
    #[test]
    fn private_messages_survive_the_wire_and_are_not_printed() {
        every_cut_is_refused(&Private::MemberTicket { ticket: "v4.public.abc".into() });
        let code = Private::Code { request: 1, code: "123-456-789 one-two-three".into(), expires_s: 600 };
        every_cut_is_refused(&code);
        assert!(!format!("{code:?}").contains("one"));
        every_cut_is_refused(&Private::CodeRefused { request: 1, reason: "no".into() });
        for reason in [CodeEnd::Used, CodeEnd::Expired, CodeEnd::Guessed, CodeEnd::Closed] {
            every_cut_is_refused(&Private::CodeEnded { request: 1, reason });
        }
    }

    /// \[APP-4\]: names and lists at their limits, and one beyond.
    #[test]
    fn offers_are_bounded() {
        let with = |change: &dyn Fn(&mut FileOffer)| {
            let mut sample = offer();
            change(&mut sample);
            FileMessage::from_bytes(&FileMessage::Offer(sample).to_bytes())
        };
        assert!(with(&|offer| offer.name = "n".repeat(FILE_NAME_LENGTH_MAX)).is_ok());
        assert!(with(&|offer| offer.name = "n".repeat(FILE_NAME_LENGTH_MAX + 1)).is_err());
        assert!(with(&|offer| offer.name = "a\nb".into()).is_err());
        let many = (1..=ROSTER_MEMBERS_MAX as u16).map(number).collect::<Vec<_>>();
        assert!(with(&|offer| offer.receivers = many.clone()).is_ok());
        assert!(with(&|offer| offer.receivers = vec![number(2), number(2)]).is_err());
        for stream in [0, 1, 15, 64] {
            assert!(with(&|offer| offer.stream = StreamId(stream)).is_err());
        }
    }

    /// \[APP-2\]: an unknown type is told from a known one.
    #[test]
    fn unknown_types_are_refused() {
        for kind in [0u8, 6, 15, 19, 255] {
            assert!(Control::from_bytes(&[kind, 0, 0, 0, 0, 0]).is_err());
        }
        assert!(Private::from_bytes(&[0]).is_err());
        assert!(Chat::from_bytes(b"\x02hello").is_err());
        assert!(Control::from_bytes(&[TYPE_CONSENT, 1, 0, 1, 2]).is_err());
        assert_eq!(FileReason::from_u8(0), None);
        for reason in FileReason::ALL {
            assert_eq!(FileReason::from_u8(*reason as u8), Some(*reason));
        }
    }

    /// \[APP-6\]: the registry holds every reason under its code.
    #[test]
    fn reasons_stand_in_the_registry() {
        let registry = include_str!("../spec/registry.md");
        let table = registry.split("## Reasons of a file").nth(1).unwrap();
        let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        let expected: Vec<_> = FileReason::ALL
            .iter()
            .map(|reason| {
                let name = format!("{reason:?}");
                let words = name.chars().fold(String::new(), |mut words, letter| {
                    if letter.is_uppercase() && !words.is_empty() {
                        words.push(' ');
                    }
                    words.push(letter.to_ascii_lowercase());
                    words
                });
                format!("| {} | {words} |", *reason as u8)
            })
            .collect();
        assert_eq!(rows[..expected.len()], expected);
    }

    /// \[APP-3\]
    #[test]
    fn chat_is_bounded_text() {
        let line = Chat::new("hello\nyou").unwrap();
        assert_eq!(Chat::from_bytes(&line.to_bytes()), Ok(line));
        assert!(Chat::new("x".repeat(CHAT_LENGTH_MAX)).is_some());
        assert!(Chat::new("x".repeat(CHAT_LENGTH_MAX + 1)).is_none());
        assert!(Chat::new("").is_none());
        assert!(Chat::new("\u{1b}[31mred").is_none());
        assert!(Chat::from_bytes(b"\x01").is_err());
        assert!(Chat::from_bytes(b"\x01a\xff").is_err());
        assert!(Chat::from_bytes(b"\x01a\x1b").is_err());
    }
}
