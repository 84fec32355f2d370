//! What a simulated run did, second by second, as hashes: so that two runs that should have been one and the
//! same say when and where they parted.
//!
//! Determinism dies quietly: a hash map's order, an ambient clock, a thread. A history that differs says
//! that it did, and long after the cause; the first second in which anything differs, and what did, say
//! nearly why. A [`Trace`] is kept beside a run when it is asked for, and a replay compares its own.

mod tape;

use std::collections::{BTreeMap, BTreeSet};

use quorate_check::history::Operation;
use quorate_env::random::mix;
use serde::{Deserialize, Serialize};

pub use tape::Tape;

use crate::fault::FaultEvent;

/// A hash that is made piece by piece. Not for secrets: it tells runs apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hash(u64);

impl Hash {
    /// Adds a number.
    pub fn number(&mut self, number: u64) {
        self.0 = mix(self.0 ^ number);
    }

    /// Adds bytes, and how many there are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.number(u64::from_le_bytes(word));
        }
    }
}

/// One simulated second: what happened in it, by where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Second {
    /// Its number, from the beginning of the simulation.
    pub second: u64,
    /// Hashes by component; those without any event are left out.
    pub hashes: BTreeMap<String, String>,
}

/// A run in hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    seconds: BTreeMap<u64, BTreeMap<String, String>>,
}

/// Where two runs part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parting {
    /// The first simulated second in which they differ.
    pub second: u64,
    /// What differs in it.
    pub components: Vec<String>,
}

/// Nanoseconds in a second.
const SECOND_NS: u64 = 1_000_000_000;

/// The file in a run's directory.
pub const TRACE_FILE: &str = "trace.jsonl";

impl Trace {
    /// Adds the hash of what a component did in a second. Components of one name are one.
    pub fn add(&mut self, second: u64, component: &str, hash: Hash) {
        self.seconds.entry(second).or_default().insert(component.to_owned(), format!("{:016x}", hash.0));
    }

    /// Adds what clients called and were told.
    pub fn add_history(&mut self, operations: &[Operation]) {
        let mut events: Vec<(u64, String)> = Vec::new();
        for op in operations {
            events.push((op.invoke_ns, format!("{} {:?} {:?} {:?}", op.process, op.f, op.key, op.value)));
            if let Some(ended) = op.return_ns.or(op.gave_up_ns) {
                events.push((ended, format!("{op:?}")));
            }
        }
        self.add_events("history", events);
    }

    /// Adds what was done to the world.
    pub fn add_faults(&mut self, events: &[FaultEvent]) {
        self.add_events("faults", events.iter().map(|event| (event.at_ns, format!("{event:?}"))).collect());
    }

    /// Events with their times.
    fn add_events(&mut self, component: &str, mut events: Vec<(u64, String)>) {
        events.sort_by_key(|(at_ns, _)| *at_ns);
        let mut hashes: BTreeMap<u64, Hash> = BTreeMap::new();
        for (at_ns, event) in events {
            let hash = hashes.entry(at_ns / SECOND_NS).or_default();
            hash.number(at_ns);
            hash.bytes(event.as_bytes());
        }
        for (second, hash) in hashes {
            self.add(second, component, hash);
        }
    }

    /// The lines of [`TRACE_FILE`].
    ///
    /// # Panics
    /// Never: every second has a JSON form.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (second, hashes) in &self.seconds {
            let second = Second { second: *second, hashes: hashes.clone() };
            text.push_str(&serde_json::to_string(&second).expect("a second has a JSON form"));
            text.push('\n');
        }
        text
    }

    /// Reads the lines of [`TRACE_FILE`].
    ///
    /// # Errors
    /// Says which line makes no sense.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let mut trace = Self::default();
        for (i, line) in text.lines().enumerate() {
            let second: Second = serde_json::from_str(line).map_err(|e| format!("line {}: {e}", i + 1))?;
            trace.seconds.insert(second.second, second.hashes);
        }
        Ok(trace)
    }

    /// The first second in which the two are not the same, and in what; none if they are.
    #[must_use]
    pub fn parting(&self, other: &Self) -> Option<Parting> {
        let nothing = BTreeMap::new();
        let seconds: BTreeSet<u64> = self.seconds.keys().chain(other.seconds.keys()).copied().collect();
        seconds.into_iter().find_map(|second| {
            let one = self.seconds.get(&second).unwrap_or(&nothing);
            let two = other.seconds.get(&second).unwrap_or(&nothing);
            let names: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
            let components: Vec<String> =
                names.into_iter().filter(|name| one.get(*name) != two.get(*name)).cloned().collect();
            (!components.is_empty()).then_some(Parting { second, components })
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use quorate_check::history::{Function, Outcome};

    use super::*;

    fn get(invoke_ns: u64, return_ns: u64, value: &str) -> Operation {
        let mut op = Operation::invoked(1, Function::Get, "k1", invoke_ns);
        op.return_ns = Some(return_ns);
        op.outcome = Outcome::Ok;
        op.values = Some(vec![value.into()]);
        op
    }

    fn trace(second_value: &str, wire: &[u8]) -> Trace {
        let mut trace = Trace::default();
        trace.add_history(&[get(10, SECOND_NS + 1, "v1"), get(SECOND_NS, 2 * SECOND_NS, second_value)]);
        let mut hash = Hash::default();
        hash.bytes(wire);
        trace.add(1, "wire n1", hash);
        trace
    }

    #[test]
    fn the_first_second_that_differs_is_named_with_what_differs() {
        let one = trace("v2", b"abc");
        assert_eq!(one.parting(&trace("v2", b"abc")), None);
        let parted = one.parting(&trace("v3", b"abc")).unwrap();
        assert_eq!((parted.second, parted.components), (2, vec!["history".to_owned()]), "when it was told");
        let parted = one.parting(&trace("v3", b"abd")).unwrap();
        assert_eq!((parted.second, parted.components), (1, vec!["wire n1".to_owned()]));
        let parted = one.parting(&Trace::default()).unwrap();
        assert_eq!((parted.second, parted.components), (0, vec!["history".to_owned()]), "nothing at all");
    }

    #[test]
    fn a_trace_reads_back_as_written() {
        let one = trace("v2", b"abc");
        assert_eq!(one.text().lines().count(), 3);
        assert_eq!(Trace::from_text(&one.text()).unwrap(), one);
        assert!(Trace::from_text("{}\n").unwrap_err().starts_with("line 1"));
    }

    #[test]
    fn where_bytes_are_cut_matters() {
        let hash = |parts: &[&[u8]]| {
            let mut hash = Hash::default();
            parts.iter().for_each(|part| hash.bytes(part));
            hash
        };
        assert_eq!(hash(&[b"abcdefghi"]), hash(&[b"abcdefghi"]));
        assert_ne!(hash(&[b"abcdefghi"]), hash(&[b"abcdefgh", b"i"]));
        assert_ne!(hash(&[b"a\0"]), hash(&[b"a"]));
    }
}
