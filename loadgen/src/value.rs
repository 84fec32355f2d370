//! Values that say who wrote them and whether they arrived whole.
//!
//! A value is `v<process>-<sequence>`, then `|` and filler that follows from these two, up to
//! the wanted size. So every write of a history is unique, and a damaged value is noticed
//! without remembering what was written. All of it is ASCII.

use std::fmt;
use std::str::FromStr;

use crate::draws::{Draws, Purpose};

/// Six bits of each byte, and what makes them printable: `0` to `o`, without the `|`.
const BITS: u64 = 0x3f3f_3f3f_3f3f_3f3f;
const BASE: u64 = 0x3030_3030_3030_3030;

/// Words of eight printable bytes. Every get is compared with them, so they come from few draws: the
/// same drawn word gives three, shifted.
struct Filler {
    draws: Draws,
    word: u64,
    left: u32,
}

impl Filler {
    fn next(&mut self) -> [u8; 8] {
        if self.left == 0 {
            (self.word, self.left) = (self.draws.next_u64(), 3);
        } else {
            self.word >>= 1;
        }
        self.left -= 1;
        printable(self.word).to_le_bytes()
    }
}

/// Eight printable bytes of a drawn word.
fn printable(word: u64) -> u64 {
    (word & BITS) + BASE
}

/// Bytes of the longest name: a letter, ten digits, a dash, twenty digits.
const NAME_BYTES_MAX: usize = 32;

/// The unique name of a written value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId {
    /// Who wrote it.
    pub process: u32,
    /// Which of its writes it is.
    pub sequence: u64,
}

impl fmt::Display for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}-{}", self.process, self.sequence)
    }
}

/// A text that is not a value's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a value name of the form v<process>-<sequence>")]
pub struct NotAValueId;

impl FromStr for ValueId {
    type Err = NotAValueId;

    fn from_str(text: &str) -> Result<Self, NotAValueId> {
        let (process, sequence) =
            text.strip_prefix('v').and_then(|t| t.split_once('-')).ok_or(NotAValueId)?;
        // `v01-+2` would otherwise be a second spelling of one name.
        let is_plain = |digits: &str| {
            digits.starts_with(|c: char| c.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'))
        };
        if !is_plain(process) || !is_plain(sequence) {
            return Err(NotAValueId);
        }
        Ok(Self {
            process: process.parse().map_err(|_| NotAValueId)?,
            sequence: sequence.parse().map_err(|_| NotAValueId)?,
        })
    }
}

impl ValueId {
    /// Replaces `out` by this value's bytes: `bytes` of them, or just the name if that is longer.
    pub fn encode(self, bytes: usize, out: &mut Vec<u8>) {
        use std::io::Write as _;
        out.clear();
        write!(out, "{self}").expect("writing to memory does not fail");
        if out.len() < bytes {
            out.push(b'|');
            let mut words = self.filler(bytes);
            out.reserve(bytes - out.len());
            while out.len() < bytes {
                let word = words.next();
                out.extend_from_slice(&word[..word.len().min(bytes - out.len())]);
            }
        }
    }

    /// The name of a value, if it has one; says nothing about the rest of it.
    #[must_use]
    pub fn of(value: &[u8]) -> Option<Self> {
        let name = value.split(|&b| b == b'|').next()?;
        std::str::from_utf8(name).ok()?.parse().ok()
    }

    /// Whether `value`, which bears this name, is what [`Self::encode`] made.
    #[must_use]
    pub fn is_whole(self, value: &[u8]) -> bool {
        let mut name = [0; NAME_BYTES_MAX];
        let Some(rest) = value.strip_prefix(self.name_in(&mut name)) else { return false };
        let Some((b'|', filler)) = rest.split_first() else { return rest.is_empty() };
        let mut words = self.filler(value.len());
        // A draw's three words at a time, and all of them whatever is found: every get comes by here, and
        // nearly every one finds nothing.
        let (threes, last) = filler.as_chunks::<24>();
        let mut difference = 0;
        for three in threes {
            let drawn = words.draws.next_u64();
            for (shift, word) in three.as_chunks::<8>().0.iter().enumerate() {
                difference |= u64::from_le_bytes(*word) ^ printable(drawn >> shift);
            }
        }
        difference == 0 && last.chunks(8).all(|word| *word == words.next()[..word.len()])
    }

    /// The name in bytes, at the end of `name`: every get needs it, and the formatting machinery would
    /// cost as much as the rest of the comparison.
    fn name_in(self, name: &mut [u8; NAME_BYTES_MAX]) -> &[u8] {
        let mut at = NAME_BYTES_MAX;
        for (number, before) in [(self.sequence, b'-'), (u64::from(self.process), b'v')] {
            let mut left = number;
            loop {
                at -= 1;
                name[at] = b'0' + (left % 10) as u8;
                left /= 10;
                if left == 0 {
                    break;
                }
            }
            at -= 1;
            name[at] = before;
        }
        &name[at..]
    }

    /// The filler of a value of `bytes` bytes. The size is part of the seed: a value that was cut short
    /// does not match either.
    fn filler(self, bytes: usize) -> Filler {
        let seed = u64::from(self.process) ^ (bytes as u64) << 32;
        Filler { draws: Draws::new(seed, Purpose::Filler, self.sequence), word: 0, left: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_size_asked_for_and_name_themselves() {
        let id = ValueId { process: 3, sequence: 17 };
        let mut value = Vec::new();
        for bytes in [0, 4, 5, 6, 7, 13, 14, 29, 30, 31, 100, 1024] {
            id.encode(bytes, &mut value);
            assert_eq!(value.len(), bytes.max("v3-17".len()));
            assert_eq!(ValueId::of(&value), Some(id));
            assert!(id.is_whole(&value));
        }
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let id = ValueId { process: 1, sequence: 2 };
        let mut value = Vec::new();
        id.encode(87, &mut value);
        for at in 0..value.len() {
            let mut damaged = value.clone();
            damaged[at] ^= 1;
            let noticed = ValueId::of(&damaged).is_none_or(|id| !id.is_whole(&damaged));
            assert!(noticed, "byte {at}");
        }
        assert!(!id.is_whole(&value[..86]), "cut short");
    }

    #[test]
    fn names_are_the_same_in_bytes() {
        for (process, sequence) in [(0, 0), (7, 10), (u32::MAX, u64::MAX)] {
            let id = ValueId { process, sequence };
            assert_eq!(id.name_in(&mut [0; NAME_BYTES_MAX]), id.to_string().as_bytes());
        }
    }

    #[test]
    fn names_have_one_spelling() {
        for bad in ["", "v", "v1", "v1-", "v01-2", "v1-+2", "w1-2", "v1-2 ", "v99999999999-1"] {
            assert_eq!(bad.parse::<ValueId>(), Err(NotAValueId), "{bad}");
        }
        assert_eq!("v0-0".parse(), Ok(ValueId { process: 0, sequence: 0 }));
    }
}
