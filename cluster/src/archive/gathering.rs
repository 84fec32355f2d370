//! Puts the answers of several nodes about one stretch of a partition together.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::Entry;
use crate::config::NodeId;
use crate::replica::{Page, PageEnd};
use crate::rpc::Standing;
use crate::version::Record;

/// What was answered about the keys behind one key.
#[derive(Debug, Default)]
pub struct Gathering {
    records: BTreeMap<Bytes, Record>,
    /// Some node has not said anything about keys behind this one.
    upto: Option<Bytes>,
    lacking: BTreeSet<NodeId>,
}

/// What they said together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathered {
    /// All up to `next`, merged, in the order of their keys.
    pub entries: Vec<Entry>,
    /// Where to go on behind; none if nothing is left.
    pub next: Option<Bytes>,
    /// Who may know more than it said.
    pub lacking: BTreeSet<NodeId>,
}

impl Gathering {
    /// Takes what `from` keeps for others; nothing if it does not answer.
    pub fn add_hints(&mut self, from: NodeId, page: Option<Page>) {
        match page {
            Some(page) => self.add(from, page),
            None => drop(self.lacking.insert(from)),
        }
    }

    /// Takes the copies of an owner, and how far it holds them; nothing if it does not answer.
    pub fn add_copies(&mut self, from: NodeId, answer: Option<(Page, Standing)>) {
        match answer {
            Some((page, standing)) => {
                if standing != Standing::Whole {
                    self.lacking.insert(from);
                }
                self.add(from, page);
            }
            None => drop(self.lacking.insert(from)),
        }
    }

    fn add(&mut self, from: NodeId, page: Page) {
        for paged in page.records {
            let merged = Record::decode(&paged.record).ok().and_then(|record| {
                match self.records.get(&paged.key) {
                    // Only a record of another store does not merge, and none comes this far.
                    Some(before) => before.clone().merge(record).ok(),
                    None => Some(record),
                }
            });
            match merged {
                Some(record) => {
                    if !paged.is_complete {
                        self.lacking.insert(from);
                    }
                    self.records.insert(paged.key, record);
                }
                None => drop(self.lacking.insert(from)),
            }
        }
        let upto = match page.end {
            PageEnd::Full(upto) => upto,
            // What is behind it can be read, and is asked for next.
            PageEnd::Damaged(upto) => {
                self.lacking.insert(from);
                upto
            }
            PageEnd::Last => return,
        };
        if self.upto.as_ref().is_none_or(|least| upto < *least) {
            self.upto = Some(upto);
        }
    }

    /// What they said together, as far as all said it.
    #[must_use]
    pub fn end(mut self) -> Gathered {
        if let Some(upto) = &self.upto {
            self.records.retain(|key, _| key <= upto);
        }
        let entry = |(key, record): (Bytes, Record)| Entry { key, record: record.encode().into() };
        Gathered {
            entries: self.records.into_iter().map(entry).collect(),
            next: self.upto,
            lacking: self.lacking,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::replica::Paged;
    use crate::testing::node;
    use crate::version::{Actor, Context, Dot, Payload, SiblingSet};

    fn set(by: u8) -> SiblingSet {
        let actor = Actor { node: node(by), incarnation: 1, epoch: 0 };
        SiblingSet::put(Context::new(), Dot { actor, counter: 1 }, Payload::bytes(format!("by {by}")))
    }

    fn page(records: &[(&'static str, u8)], end: PageEnd) -> Page {
        let paged = |(key, by): &(&'static str, u8)| Paged {
            key: Bytes::from_static(key.as_bytes()),
            record: Record::Siblings(set(*by)).encode().into(),
            is_complete: true,
        };
        Page { records: records.iter().map(paged).collect(), end }
    }

    fn keys(gathered: &Gathered) -> Vec<&[u8]> {
        gathered.entries.iter().map(|entry| &*entry.key).collect()
    }

    #[test]
    fn what_several_say_of_a_key_is_merged_and_nothing_goes_beyond_what_all_said() {
        let mut gathering = Gathering::default();
        gathering.add_hints(node(4), Some(page(&[("b", 4), ("z", 4)], PageEnd::Last)));
        let full = PageEnd::Full(Bytes::from_static(b"m"));
        gathering.add_copies(node(1), Some((page(&[("a", 1), ("m", 1)], full), Standing::Whole)));
        gathering.add_copies(node(2), Some((page(&[("b", 2), ("n", 2)], PageEnd::Last), Standing::Whole)));
        let gathered = gathering.end();
        assert_eq!(keys(&gathered), [b"a", b"b", b"m"]);
        assert_eq!(gathered.next.as_deref(), Some(&b"m"[..]));
        assert!(gathered.lacking.is_empty());
        let both = Record::Siblings(set(4).merge(set(2)));
        assert_eq!(Record::decode(&gathered.entries[1].record), Ok(both));
    }

    #[test]
    fn whoever_may_know_more_than_it_says_is_named() {
        let mut gathering = Gathering::default();
        let rotten = PageEnd::Damaged(Bytes::from_static(b"c"));
        let mut in_doubt = page(&[("d", 3)], PageEnd::Last);
        in_doubt.records[0].is_complete = false;
        gathering.add_hints(node(6), None);
        gathering.add_copies(node(1), Some((page(&[("a", 1)], rotten), Standing::Whole)));
        gathering.add_copies(node(2), Some((page(&[], PageEnd::Last), Standing::Lacking)));
        gathering.add_copies(node(3), Some((in_doubt, Standing::Whole)));
        gathering.add_copies(node(4), Some((page(&[("a", 4)], PageEnd::Last), Standing::New)));
        gathering.add_copies(node(5), None);
        gathering.add_copies(node(7), Some((page(&[("b", 7)], PageEnd::Last), Standing::Whole)));
        let gathered = gathering.end();
        assert_eq!(gathered.lacking, [1, 2, 3, 4, 5, 6].map(node).into());
        assert_eq!(keys(&gathered), [b"a", b"b"], "what they do say counts");
        assert_eq!(gathered.next.as_deref(), Some(&b"c"[..]), "the rest of it can be asked for");
    }
}
