//! What the search needs to know about an object: which states there are and what a step does to one.

use std::collections::HashMap;

use super::Step;
use crate::history::{Id, NONE};

/// A sequential object. States are small: what is larger is numbered or hashed.
pub(crate) trait Machine {
    /// What an operation does.
    type Step: Copy;
    /// What the object holds.
    type State: Copy + PartialEq;

    /// The state after the step, if the step may be taken.
    fn apply(&mut self, state: Self::State, step: Self::Step) -> Option<Self::State>;

    /// Whether the step never changes the state.
    fn is_read(&self, step: Self::Step) -> bool;

    /// Whether the first step may have seen what the second wrote: if what is left of a history has no
    /// step that may have, then nobody in it can tell whether the second was taken.
    fn may_see(&self, reader: Self::Step, writer: Self::Step) -> bool;

    /// Equal for steps that do the same, with overwhelming probability different for others.
    fn effect(&self, step: Self::Step) -> u128;

    /// Equal for equal states, with overwhelming probability different for others.
    fn fingerprint(&self, state: Self::State) -> u128;
}

/// Spreads a number over 128 bits.
pub(crate) fn spread(number: u64) -> u128 {
    let mix = |mut x: u64| {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let seed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u128::from(mix(seed)) << 64 | u128::from(mix(seed ^ 0x5851_f42d_4c95_7f2d))
}

/// A register with compare-and-set. A lock is one too: to acquire is to set it from free to held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Register;

impl Machine for Register {
    type Step = Step;
    type State = Id;

    #[inline]
    fn apply(&mut self, state: Id, step: Step) -> Option<Id> {
        match step {
            Step::Read(value) => (value == state).then_some(value),
            Step::Write(value) => Some(value),
            Step::Cas(from, to) => (from == state).then_some(to),
        }
    }

    #[inline]
    fn is_read(&self, step: Step) -> bool {
        matches!(step, Step::Read(_))
    }

    fn may_see(&self, reader: Step, writer: Step) -> bool {
        match (reader, writer) {
            (Step::Read(seen) | Step::Cas(seen, _), Step::Write(wrote) | Step::Cas(_, wrote)) => {
                seen == wrote
            }
            (Step::Write(_), _) | (_, Step::Read(_)) => false,
        }
    }

    fn effect(&self, step: Step) -> u128 {
        let (kind, from, to) = match step {
            Step::Read(value) => (1, NONE, value),
            Step::Write(value) => (2, NONE, value),
            Step::Cas(from, to) => (3, from, to),
        };
        u128::from(kind as u32) << 64 | u128::from(from) << 32 | u128::from(to)
    }

    #[inline]
    fn fingerprint(&self, state: Id) -> u128 {
        spread(u64::from(state) | 1 << 40)
    }
}

/// What a string holds: two polynomial hashes of it, modulo 2^61 - 1; or that there is none.
pub(crate) type Digest = (u64, u64);

const P: u64 = (1 << 61) - 1;
const BASES: (u64, u64) = (0x0003_8d1f_77c2_a8b3, 0x000b_1c6e_5f0d_9a41);
/// No string at all, which is not the empty one.
pub(crate) const NO_STRING: Digest = (u64::MAX, u64::MAX);
pub(crate) const EMPTY_STRING: Digest = (0, 0);

fn times(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    let folded = (wide as u64 & P) + (wide >> 61) as u64;
    if folded >= P { folded - P } else { folded }
}

fn plus(a: u64, b: u64) -> u64 {
    let sum = a + b;
    if sum >= P { sum - P } else { sum }
}

/// The digest of a string, and the factors that append it to another.
pub(crate) fn digest(text: &str) -> (Digest, Digest) {
    let mut hash = EMPTY_STRING;
    let mut shift = (1, 1);
    for &byte in text.as_bytes() {
        let letter = u64::from(byte) + 1;
        hash = (plus(times(hash.0, BASES.0), letter), plus(times(hash.1, BASES.1), letter));
        shift = (times(shift.0, BASES.0), times(shift.1, BASES.1));
    }
    (hash, shift)
}

/// What an operation does to a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StringStep {
    Read(Digest),
    Write(Digest),
    /// Appends a string with this digest and these factors.
    Append(Digest, Digest),
}

/// A string: read, written, appended to. Appending to none writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text;

impl Machine for Text {
    type Step = StringStep;
    type State = Digest;

    #[inline]
    fn apply(&mut self, state: Digest, step: StringStep) -> Option<Digest> {
        match step {
            StringStep::Read(seen) => (seen == state).then_some(seen),
            StringStep::Write(new) => Some(new),
            StringStep::Append(tail, _) if state == NO_STRING => Some(tail),
            StringStep::Append(tail, shift) => {
                Some((plus(times(state.0, shift.0), tail.0), plus(times(state.1, shift.1), tail.1)))
            }
        }
    }

    #[inline]
    fn is_read(&self, step: StringStep) -> bool {
        matches!(step, StringStep::Read(_))
    }

    /// A digest does not tell what it is made of.
    fn may_see(&self, reader: StringStep, _: StringStep) -> bool {
        matches!(reader, StringStep::Read(_))
    }

    fn effect(&self, step: StringStep) -> u128 {
        let (kind, digest) = match step {
            StringStep::Read(digest) => (1, digest),
            StringStep::Write(digest) => (2, digest),
            StringStep::Append(digest, _) => (3, digest),
        };
        self.fingerprint(digest) ^ spread(kind)
    }

    #[inline]
    fn fingerprint(&self, state: Digest) -> u128 {
        spread(state.0) ^ spread(state.1).rotate_left(17)
    }
}

/// One step of a transaction: whether it reads, the register and the value.
pub(crate) type Access = (bool, u32, Id);

/// Several registers; a step is a transaction: a run of accesses, done at once from left to right.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registers {
    pub(crate) accesses: Vec<Access>,
    states: Vec<Box<[Id]>>,
    /// Only asked, never walked.
    numbers: HashMap<Box<[Id]>, u32>,
}

impl Registers {
    /// The number of a state.
    pub(crate) fn state(&mut self, registers: Box<[Id]>) -> u32 {
        if let Some(&number) = self.numbers.get(&registers) {
            return number;
        }
        let number = u32::try_from(self.states.len()).unwrap_or(NONE);
        self.states.push(registers.clone());
        self.numbers.insert(registers, number);
        number
    }

    fn accesses(&self, (start, end): (u32, u32)) -> &[Access] {
        &self.accesses[start as usize..end as usize]
    }
}

impl Machine for Registers {
    type Step = (u32, u32);
    type State = u32;

    fn apply(&mut self, state: u32, step: (u32, u32)) -> Option<u32> {
        let mut registers = self.states[state as usize].clone();
        let mut changed = false;
        for &(reads, register, value) in self.accesses(step) {
            let slot = &mut registers[register as usize];
            if reads && *slot != value {
                return None;
            }
            if !reads {
                changed |= *slot != value;
                *slot = value;
            }
        }
        Some(if changed { self.state(registers) } else { state })
    }

    fn is_read(&self, step: (u32, u32)) -> bool {
        self.accesses(step).iter().all(|&(reads, ..)| reads)
    }

    fn may_see(&self, reader: (u32, u32), writer: (u32, u32)) -> bool {
        let seen = self.accesses(reader).iter().filter(|(reads, ..)| *reads);
        let wrote =
            |&(_, register, value): &Access| self.accesses(writer).contains(&(false, register, value));
        seen.into_iter().any(wrote)
    }

    fn effect(&self, step: (u32, u32)) -> u128 {
        self.accesses(step).iter().fold(7, |effect: u128, &(reads, register, value)| {
            let access = u64::from(register) << 33 | u64::from(value) << 1 | u64::from(reads);
            effect.rotate_left(5) ^ spread(access)
        })
    }

    fn fingerprint(&self, state: u32) -> u128 {
        spread(u64::from(state) | 1 << 40)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appending_digests_is_the_digest_of_the_appended() {
        let mut text = String::new();
        let mut state = NO_STRING;
        for word in ["x 0 0 y", "", "ä", "\0", "\0\0", "x 0 1 y"] {
            let (hash, shift) = digest(word);
            state = Text.apply(state, StringStep::Append(hash, shift)).unwrap_or_default();
            text.push_str(word);
            assert_eq!(state, digest(&text).0, "{text:?}");
        }
        assert_ne!(digest("\0").0, EMPTY_STRING);
        assert_ne!(digest("\0").0, digest("\0\0").0);
    }
}
