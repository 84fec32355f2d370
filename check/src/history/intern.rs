//! Small numbers for values, so that checkers compare and index numbers.
//!
//! An open-addressing table of its own, because reading a million operations is mostly looking up
//! values: it is asked with borrowed text, so a value that was seen before costs no allocation, and a
//! slot holds 32 bits of hash beside the number, so that a miss seldom looks at a value. The hash has
//! no secret: who feeds a checker its own files has nothing to gain from slowing it down.

use super::error::LineError;
use super::value::{Value, ValueRef};

/// The number of a value, in order of first appearance.
pub(crate) type Id = u32;

const EMPTY: u64 = u64::MAX;

/// Numbers values. The table is only ever asked, never walked, so its order does not matter.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    /// Hash in the upper half, number in the lower; a power of two, at most two thirds full.
    slots: Vec<u64>,
    values: Vec<Value>,
}

impl Interner {
    pub(crate) fn id(&mut self, value: ValueRef<'_>) -> Result<Id, LineError> {
        if 3 * (self.values.len() + 1) > 2 * self.slots.len() {
            self.grow();
        }
        let hash = hash(value);
        let at = match self.look(value, hash) {
            Ok(id) => return Ok(id),
            Err(at) => at,
        };
        // The last numbers are kept free: they mean "none" and "not found".
        let id =
            Id::try_from(self.values.len()).ok().filter(|&id| id < Id::MAX - 2).ok_or(LineError::TooLarge)?;
        self.slots[at] = u64::from(hash) << 32 | u64::from(id);
        self.values.push(value.to_value());
        Ok(id)
    }

    pub(crate) fn find(&self, value: &Value) -> Option<Id> {
        let value = value.borrowed();
        if self.slots.is_empty() { None } else { self.look(value, hash(value)).ok() }
    }

    pub(crate) fn value(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn shrink(&mut self) {
        self.values.shrink_to_fit();
    }

    /// The number of a value, or the slot where it would go.
    fn look(&self, value: ValueRef<'_>, hash: u32) -> Result<Id, usize> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == EMPTY {
                return Err(at);
            }
            let id = slot as u32;
            if (slot >> 32) as u32 == hash && self.values[id as usize].borrowed() == value {
                return Ok(id);
            }
            at = (at + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let size = (2 * self.slots.len()).max(16);
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; size]);
        for slot in old.into_iter().filter(|&slot| slot != EMPTY) {
            let mut at = (slot >> 32) as usize & (size - 1);
            while self.slots[at] != EMPTY {
                at = (at + 1) & (size - 1);
            }
            self.slots[at] = slot;
        }
    }
}

/// Multiply and fold, eight bytes at a time.
fn hash(value: ValueRef<'_>) -> u32 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let fold = |state: u64, word: u64| {
        let wide = u128::from(state ^ word) * u128::from(K);
        (wide >> 64) as u64 ^ wide as u64
    };
    let state = match value {
        ValueRef::Null => fold(1, K),
        ValueRef::Integer(number) => fold(fold(2, number.cast_unsigned()), K),
        ValueRef::Text(text) => {
            let (words, rest) = text.as_bytes().as_chunks::<8>();
            let mut state = words
                .iter()
                .fold(3 + text.len() as u64, |state, word| fold(state, u64::from_le_bytes(*word)));
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            state = fold(state, u64::from_le_bytes(last));
            fold(state, K)
        }
    };
    (state ^ state >> 32) as u32
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn each_value_keeps_its_number_while_the_table_grows() {
        let mut interner = Interner::default();
        assert_eq!(interner.find(&Value::Null), None);
        let value = |number: i64| match number % 3 {
            0 => Value::Integer(number),
            1 => Value::from(format!("v{number}")),
            _ => Value::from(format!("a rather longer value, the {number}th")),
        };
        for number in 0..10_000 {
            assert_eq!(interner.id(value(number).borrowed()), Ok(number as u32));
        }
        for number in 0..10_000 {
            assert_eq!(interner.id(value(number).borrowed()), Ok(number as u32));
            assert_eq!(interner.find(&value(number)), Some(number as u32));
        }
        assert_eq!(interner.find(&Value::from("0")), None, "an integer is not the text of it");
        assert_eq!(interner.len(), 10_000);
    }
}
