//! Reading and writing of big-endian fields \[CON-1\]; nothing is allocated before its length has been checked.

use thiserror::Error;

/// Why bytes are not what they claim to be. The culprit is always the party that sent them; it costs that party its
/// frame, message or connection, and nobody else anything \[CON-5\].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The input ends inside a field.
    #[error("ends too early")]
    Truncated,
    /// Bytes are left over after the last field.
    #[error("{0} bytes too long")]
    Trailing(usize),
    /// A length or count is above its limit.
    #[error("{what} too long: {length} of at most {limit}")]
    TooLong {
        /// The field.
        what: &'static str,
        /// Its stated length.
        length: usize,
        /// What the specification allows.
        limit: usize,
    },
    /// A field holds a value that the registry or the clause does not allow.
    #[error("malformed {0}")]
    Malformed(&'static str),
}

/// A cursor over received bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// How many bytes are left.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Exactly `length` bytes.
    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    /// Exactly `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = tail;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// `length16` and that many bytes, at most `limit` \[CON-3\].
    pub fn var(&mut self, what: &'static str, limit: usize) -> Result<&'a [u8], DecodeError> {
        let length = usize::from(self.u16()?);
        if length > limit {
            return Err(DecodeError::TooLong { what, length, limit });
        }
        self.bytes(length)
    }

    /// As [`Reader::var`], in UTF-8 and without control characters \[CON-4\].
    pub fn text(&mut self, what: &'static str, limit: usize) -> Result<&'a str, DecodeError> {
        let text = std::str::from_utf8(self.var(what, limit)?).map_err(|_| DecodeError::Malformed(what))?;
        if text.chars().any(char::is_control) {
            return Err(DecodeError::Malformed(what));
        }
        Ok(text)
    }

    /// Refuses bytes after the last field \[CON-2\].
    pub const fn finish(&self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(DecodeError::Trailing(extra)),
        }
    }
}

/// Writes `length16` and the bytes.
///
/// # Panics
/// If `bytes` is longer than 65,535: that is our own bug, as senders check limits first.
pub fn put_var(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("field longer than its length prefix can say");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// A type with one encoding.
pub trait Wire: Sized {
    /// Appends the encoding to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads one value and leaves the reader behind it.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not a valid encoding.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// The encoding as a vector of its own.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// Decodes the whole of `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`], also for bytes left over.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }
}

macro_rules! wire_integer {
    ($($type:ident),*) => {$(
        impl Wire for $type {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.$type()
            }
        }
    )*};
}

wire_integer!(u8, u16, u32, u64);

impl<const N: usize> Wire for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array()
    }
}
