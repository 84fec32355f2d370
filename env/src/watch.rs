//! Watches what is drawn from random streams, for finding where two runs of one seed part.
//!
//! A watch is one of its thread, as a simulated world is, so nothing has to be passed around; without one a
//! stream looks once where it is made. Streams of the same path, such as those of a node that was started
//! again, are counted as one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::random::mix;

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Watch {
    /// Paths of the nodes of the tree by their seeds.
    paths: BTreeMap<u64, String>,
    meters: BTreeMap<String, Arc<Meter>>,
}

/// What was drawn from the streams of one path.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    drawn: AtomicU64,
    hash: AtomicU64,
}

impl Meter {
    pub(crate) fn draws(&self, value: u64) {
        self.drawn.fetch_add(1, Ordering::Relaxed);
        // One thread draws: load and store need not be one step.
        self.hash.store(mix(self.hash.load(Ordering::Relaxed) ^ value), Ordering::Relaxed);
    }
}

/// What was drawn from one stream so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The names on the way to it, with `/` between them.
    pub path: String,
    /// How many numbers.
    pub count: u64,
    /// A hash of all of them in order.
    pub hash: u64,
}

/// Watches every stream that is made on this thread from now on, until it is dropped.
#[derive(Debug)]
pub struct RandomWatch {
    /// It is one of its thread.
    _not_send: std::marker::PhantomData<*const ()>,
}

impl RandomWatch {
    /// Begins to watch. A watch that was there already ends.
    #[must_use]
    pub fn begin() -> Self {
        WATCH.with_borrow_mut(|watch| *watch = Some(Watch::default()));
        Self { _not_send: std::marker::PhantomData }
    }

    /// What was drawn so far, by path.
    #[must_use]
    pub fn drawn(&self) -> Vec<Drawn> {
        WATCH.with_borrow(|watch| {
            let meters = watch.iter().flat_map(|watch| &watch.meters);
            let drawn = meters.map(|(path, meter)| Drawn {
                path: path.clone(),
                count: meter.drawn.load(Ordering::Relaxed),
                hash: meter.hash.load(Ordering::Relaxed),
            });
            drawn.collect()
        })
    }
}

impl Drop for RandomWatch {
    fn drop(&mut self) {
        WATCH.with_borrow_mut(|watch| *watch = None);
    }
}

/// The node of the tree with this seed is called `name` and below the one with the seed `parent`.
pub(crate) fn note_child(parent: u64, child: u64, name: &str) {
    WATCH.with_borrow_mut(|watch| {
        if let Some(watch) = watch {
            let path = watch.path(parent, name);
            watch.paths.insert(child, path);
        }
    });
}

/// The meter of the stream `name` below the node with the seed `parent`, if somebody watches.
pub(crate) fn meter(parent: u64, name: &str) -> Option<Arc<Meter>> {
    WATCH.with_borrow_mut(|watch| {
        let watch = watch.as_mut()?;
        let path = watch.path(parent, name);
        Some(Arc::clone(watch.meters.entry(path).or_default()))
    })
}

impl Watch {
    fn path(&self, parent: u64, name: &str) -> String {
        self.paths.get(&parent).map_or_else(|| name.to_owned(), |path| format!("{path}/{name}"))
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng as _;

    use super::*;
    use crate::random::Random;

    #[test]
    fn draws_are_counted_by_path_while_somebody_watches() {
        let before = Random::from_seed(1).stream("before");
        let watch = RandomWatch::begin();
        let node = Random::from_seed(1).child("n1");
        let mut dots = node.child("gossip").stream("dots");
        let first = dots.next_u64();
        let one = watch.drawn();
        assert_eq!(one.len(), 1);
        assert_eq!((one[0].path.as_str(), one[0].count), ("n1/gossip/dots", 1));
        // Started again, as after a crash.
        let mut again = node.child("gossip").stream("dots");
        assert_eq!(again.next_u64(), first, "watching changes nothing");
        let two = watch.drawn();
        assert_eq!((two.len(), two[0].count), (1, 2));
        assert_ne!(one[0].hash, two[0].hash);
        before.clone().next_u64();
        drop(watch);
        assert_eq!(RandomWatch::begin().drawn(), []);
    }

    #[test]
    fn other_numbers_have_another_hash() {
        let hash = |seed: u64| {
            let watch = RandomWatch::begin();
            Random::from_seed(seed).stream("a").next_u32();
            watch.drawn().remove(0).hash
        };
        assert_eq!(hash(1), hash(1));
        assert_ne!(hash(1), hash(2));
    }
}
