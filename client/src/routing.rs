//! Which node takes an operation, and which one next if that fails.
//!
//! A client that asks owners keeps the placement it was last told. It asks for a newer one every
//! ten seconds, and at once when an answer comes from a view that it does not know.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::NodeChoice;
use crate::nodes::Nodes;
use crate::placement::{Placement, ViewName};

/// How old a placement may become.
const AGE_MAX: Duration = Duration::from_secs(10);
/// The shortest time between two questions for it: a change goes through several views.
const PAUSE: Duration = Duration::from_millis(200);

/// Chooses nodes.
pub(crate) struct Router {
    choice: NodeChoice,
    next: AtomicUsize,
    known: Mutex<Known>,
    /// One question at a time.
    asking: AtomicBool,
}

#[derive(Default)]
struct Known {
    map: Option<Arc<Map>>,
    asked: Option<Instant>,
    is_old: bool,
}

/// A placement in this client's numbers of nodes.
struct Map {
    placement: Placement,
    /// The client's number of each of the placement's nodes.
    numbers: Vec<usize>,
}

/// Nodes in the order in which to ask.
pub(crate) enum Route {
    One(usize),
    Several(Vec<usize>),
}

impl Route {
    /// The node for attempt number `attempt`, from 0, if that is decided.
    pub(crate) fn get(&self, attempt: usize) -> Option<usize> {
        match self {
            Self::One(node) => (attempt == 0).then_some(*node),
            Self::Several(nodes) => nodes.get(attempt).copied(),
        }
    }
}

/// The right to ask for a placement, and the duty to say that it is over.
pub(crate) struct Question(Arc<Router>);

impl Drop for Question {
    fn drop(&mut self) {
        self.0.asking.store(false, Ordering::Release);
    }
}

impl Router {
    pub(crate) fn new(choice: NodeChoice) -> Self {
        Self { choice, next: AtomicUsize::new(0), known: Mutex::default(), asking: AtomicBool::new(false) }
    }

    /// Whether it has a use for placements.
    pub(crate) fn wants_placement(&self) -> bool {
        self.choice == NodeChoice::Owner
    }

    /// Whether another node than the first may be asked.
    pub(crate) fn may_move(&self) -> bool {
        !matches!(self.choice, NodeChoice::Fixed(_))
    }

    /// The nodes for an operation on `key`, in the order in which to ask; never none.
    pub(crate) fn nodes_for(&self, key: Option<&[u8]>, nodes: &Nodes) -> Route {
        match self.choice {
            NodeChoice::Fixed(node) => Route::One(node),
            // Whoever is next, up or not: a load generator wants to know.
            NodeChoice::RoundRobin => Route::One(self.turn() % nodes.len()),
            NodeChoice::Owner => Route::Several(self.owners_first(key, nodes)),
        }
    }

    fn owners_first(&self, key: Option<&[u8]>, nodes: &Nodes) -> Vec<usize> {
        let map = self.known().map.clone();
        let all = match (map, key) {
            (Some(map), Some(key)) => {
                map.placement.owners_of(key).iter().map(|owner| map.numbers[*owner as usize]).collect()
            }
            (Some(map), None) => self.rotated(&map.numbers),
            (None, _) => self.rotated(&(0..nodes.len()).collect::<Vec<_>>()),
        };
        in_order(all, nodes)
    }

    /// The node after all of `asked` have failed.
    pub(crate) fn after(&self, asked: &[usize], nodes: &Nodes) -> usize {
        let last = asked.last().copied().unwrap_or_default();
        let following = (1..=nodes.len()).map(|step| (last + step) % nodes.len());
        let members = self.known().map.clone();
        let is_member = |node: &usize| members.as_ref().is_none_or(|map| map.numbers.contains(node));
        following
            .clone()
            .filter(is_member)
            .find(|node| !asked.contains(node))
            .unwrap_or((last + 1) % nodes.len())
    }

    fn rotated(&self, all: &[usize]) -> Vec<usize> {
        let from = self.turn() % all.len().max(1);
        all[from..].iter().chain(&all[..from]).copied().collect()
    }

    fn turn(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Which view an answer came from.
    pub(crate) fn heard(&self, view: &str) {
        let mut known = self.known();
        let Some(map) = &known.map else { return };
        let current = &map.placement.view;
        if !current.is_called(view) && ViewName::new(view).is_after(current) {
            known.is_old = true;
        }
    }

    /// The right to ask for a placement, if it is time and nobody else does.
    pub(crate) fn question(self: &Arc<Self>, now: Instant) -> Option<Question> {
        if !self.wants_placement() || !self.known().is_due(now) || self.asking.swap(true, Ordering::AcqRel) {
            return None;
        }
        self.known().asked = Some(now);
        Some(Question(Arc::clone(self)))
    }

    /// Whether operations would have to be sent anywhere.
    pub(crate) fn knows_nothing(&self) -> bool {
        self.known().map.is_none()
    }

    /// Takes a placement, unless a newer one is known: the node asked may be behind.
    pub(crate) fn learn(&self, placement: Placement, numbers: Vec<usize>) {
        let mut known = self.known();
        if known.map.as_ref().is_some_and(|map| map.placement.view.is_after(&placement.view)) {
            return;
        }
        known.map = Some(Arc::new(Map { placement, numbers }));
        known.is_old = false;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn is_due(&self, now: Instant) -> bool {
        let pause = if self.map.is_none() || self.is_old { PAUSE } else { AGE_MAX };
        self.asked.is_none_or(|asked| now.duration_since(asked) >= pause)
    }
}

/// Those that seem to be up before the others.
fn in_order(mut list: Vec<usize>, nodes: &Nodes) -> Vec<usize> {
    list.sort_by_key(|number| nodes.get(*number).is_none_or(|node| !node.seems_up()));
    list
}
