//! The body inside a seal: as it is, padded, or compressed \[REC-7\]. Never decides which; the caller says it per record.
//!
//! `encoding8 | content`. LZ4 blocks, since its decoder is bounded by its output, has no unsafe code and keeps up with
//! any link; each record stands alone, so nothing said in one record can be guessed from the length of another.

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

use super::{MalformedBody, PLAINTEXT_LENGTH_MAX};

/// How a plaintext is shaped before it is sealed \[REC-7\].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// As it is. Its length shows.
    Exact,
    /// Padded to a multiple of [`PADDING_MULTIPLE`]: input, chat, clipboard.
    Padded,
    /// Compressed where that makes it shorter: files, diagnostics, screen. Never for what holds secrets beside
    /// something that an attacker chooses.
    Compressed,
}

/// Chat, clipboard and input are padded to multiples of this many bytes \[REC-7\].
pub const PADDING_MULTIPLE: usize = 64;

/// Bytes before the content.
pub(crate) const ENCODING_LENGTH: usize = 1;

const EXACT: u8 = 0;
const PADDED: u8 = 1;
const LZ4: u8 = 2;
/// Ends the text and starts the padding.
const PADDING_MARK: u8 = 0x80;
/// `length16` of the plaintext before an LZ4 block.
const LZ4_PREFIX: usize = 2;

/// Working memory of the compressor, made once and kept so that no record allocates.
pub(crate) struct Compressor {
    table: CompressTable,
    /// Room for the longest block that any plaintext may become.
    block: Vec<u8>,
}

impl Compressor {
    pub(crate) fn new() -> Self {
        const { assert!(PLAINTEXT_LENGTH_MAX < u16::MAX as usize, "the small table and length16 suffice") };
        Compressor { table: CompressTable::small(), block: Vec::new() }
    }

    /// Appends `encoding8 | content` to `out`. `plaintext` is at most [`PLAINTEXT_LENGTH_MAX`] long.
    pub(crate) fn put_body(&mut self, shape: Shape, plaintext: &[u8], out: &mut Vec<u8>) {
        match shape {
            Shape::Compressed if self.put_compressed(plaintext, out) => {}
            Shape::Exact | Shape::Compressed => {
                out.push(EXACT);
                out.extend_from_slice(plaintext);
            }
            Shape::Padded => {
                out.push(PADDED);
                let start = out.len();
                out.extend_from_slice(plaintext);
                out.push(PADDING_MARK);
                out.resize(start + padded_length(plaintext.len()), 0);
            }
        }
    }

    /// Leaves `out` alone and returns false unless the block is shorter than the plaintext.
    fn put_compressed(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> bool {
        if self.block.is_empty() {
            self.block.resize(get_maximum_output_size(PLAINTEXT_LENGTH_MAX), 0);
        }
        let length = compress_into_with_table(plaintext, &mut self.block, &mut self.table)
            .expect("the block has room for any plaintext");
        if LZ4_PREFIX + length >= plaintext.len() {
            return false;
        }
        out.push(LZ4);
        out.extend_from_slice(&(plaintext.len() as u16).to_be_bytes());
        out.extend_from_slice(&self.block[..length]);
        true
    }
}

/// Length of a padded content, mark included.
const fn padded_length(plaintext: usize) -> usize {
    (plaintext + 1).next_multiple_of(PADDING_MULTIPLE)
}

/// Where the plaintext of an opened body is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// In the body, which starts with the encoding byte.
    InPlace(std::ops::Range<usize>),
    /// Decompressed into the spill buffer, which it fills.
    Spilled,
}

/// Undoes [`Compressor::put_body`]. `spill` is overwritten for compressed bodies alone and never grows above
/// [`PLAINTEXT_LENGTH_MAX`].
/// What is longer than one record, or not as long as it says, is refused before more is allocated \[REC-8\].
pub(crate) fn read_body(body: &[u8], spill: &mut Vec<u8>) -> Result<Content, MalformedBody> {
    let (encoding, content) = body.split_first().ok_or(MalformedBody)?;
    match *encoding {
        EXACT => Ok(Content::InPlace(ENCODING_LENGTH..body.len())),
        PADDED => {
            let mark = content.iter().rposition(|byte| *byte != 0).ok_or(MalformedBody)?;
            if content[mark] != PADDING_MARK || content.len() != padded_length(mark) {
                return Err(MalformedBody);
            }
            Ok(Content::InPlace(ENCODING_LENGTH..ENCODING_LENGTH + mark))
        }
        LZ4 => {
            let (length, block) = content.split_first_chunk::<LZ4_PREFIX>().ok_or(MalformedBody)?;
            let length = usize::from(u16::from_be_bytes(*length));
            if length > PLAINTEXT_LENGTH_MAX {
                return Err(MalformedBody);
            }
            spill.resize(length, 0);
            match decompress_into(block, spill) {
                Ok(written) if written == length => Ok(Content::Spilled),
                _ => Err(MalformedBody),
            }
        }
        _ => Err(MalformedBody),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(shape: Shape, plaintext: &[u8]) -> Vec<u8> {
        let (mut body, mut spill) = (Vec::new(), vec![9; 3]);
        Compressor::new().put_body(shape, plaintext, &mut body);
        match read_body(&body, &mut spill).unwrap() {
            Content::InPlace(range) => assert_eq!(&body[range], plaintext),
            Content::Spilled => assert_eq!(spill, plaintext),
        }
        body
    }

    /// \[REC-7\]
    #[test]
    fn padding_hides_the_length_within_a_multiple() {
        for length in [0, 1, 62, 63] {
            assert_eq!(round_trip(Shape::Padded, &vec![0x80; length]).len(), 1 + 64);
        }
        assert_eq!(round_trip(Shape::Padded, &[0; 64]).len(), 1 + 128);
        for wrong in [&[PADDED][..], &[PADDED, 0, 0], &[PADDED, 0x80], &[PADDED, 1, 0x80, 0]] {
            assert_eq!(read_body(wrong, &mut Vec::new()), Err(MalformedBody));
        }
        let mut long = round_trip(Shape::Padded, b"hello");
        long.resize(1 + 128, 0);
        assert_eq!(read_body(&long, &mut Vec::new()), Err(MalformedBody), "more padding than the rule");
    }

    /// \[REC-7\] A body never grows by being compressed, whatever it holds.
    #[test]
    fn compression_pays_or_is_left_out() {
        assert!(round_trip(Shape::Compressed, &[7; 60_000]).len() < 1_000);
        let noise: Vec<u8> = (0..60_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for length in [0, 1, 2, 3, 16, 1_200, PLAINTEXT_LENGTH_MAX.min(noise.len())] {
            assert!(round_trip(Shape::Compressed, &noise[..length]).len() <= 1 + length);
        }
        round_trip(Shape::Compressed, &vec![1; PLAINTEXT_LENGTH_MAX]);
    }

    /// \[REC-8\] A decompression bomb: however much a block says or holds, no more than one record's worth comes out.
    #[test]
    fn a_decompression_bomb_is_refused() {
        let mut spill = Vec::new();
        let bomb = vec![0u8; 10 << 20];
        let block = lz4_flex::block::compress(&bomb);
        assert!(block.len() < 60_000);
        for stated in [0u16, 1, 64, PLAINTEXT_LENGTH_MAX as u16] {
            let body = [&[LZ4][..], &stated.to_be_bytes(), &block].concat();
            assert_eq!(read_body(&body, &mut spill), Err(MalformedBody));
        }
        let body = [&[LZ4][..], &u16::MAX.to_be_bytes(), &block].concat();
        assert_eq!(read_body(&body, &mut spill), Err(MalformedBody), "above the limit by its own word");
        assert!(spill.capacity() <= 2 * PLAINTEXT_LENGTH_MAX);
        let short = [&[LZ4][..], &100u16.to_be_bytes(), &lz4_flex::block::compress(&[1; 99])].concat();
        assert_eq!(read_body(&short, &mut spill), Err(MalformedBody));
    }

    proptest! {
        #[test]
        fn any_text_survives_any_shape(text in prop::collection::vec(any::<u8>(), 0..3_000)) {
            for shape in [Shape::Exact, Shape::Padded, Shape::Compressed] {
                round_trip(shape, &text);
            }
        }

        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..300), encoding in 0u8..4) {
            let mut spill = Vec::new();
            let _ = read_body(&body, &mut spill);
            let _ = read_body(&[&[encoding], &body[..]].concat(), &mut spill);
        }
    }
}
