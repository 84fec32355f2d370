//! Where changes of the members are asked for, and where everybody learns what became of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Era;
use crate::fault::{FaultKind, PlannedFault};

/// A change of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// This node becomes a member.
    Join(String),
    /// This member hands over what it holds and goes.
    Leave(String),
    /// This member is gone and hands nothing over.
    Remove(String),
}

impl Wish {
    /// The node that comes or goes.
    #[must_use]
    pub fn node(&self) -> &str {
        match self {
            Self::Join(node) | Self::Leave(node) | Self::Remove(node) => node,
        }
    }
}

/// A wish that is not fulfilled yet.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) fault: usize,
    /// When the fault began by its plan, in milliseconds from the start of the load.
    pub(super) at_ms: u64,
    pub(super) wish: Wish,
    /// When the cluster was first asked.
    pub(super) since_ns: Option<u64>,
    /// Why it is not fulfilled.
    pub(super) why: String,
}

/// The state of all changes of one run. Cheap to clone; clones are the same desk.
#[derive(Clone)]
pub struct Desk {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    /// Names of all nodes, spare ones included, in the order in which clients number them.
    nodes: Vec<String>,
    asked: VecDeque<Asked>,
    eras: Vec<Era>,
    /// Whether the last change is still under way, as far as anybody knows.
    moving: bool,
    /// Faults whose wishes are fulfilled, with the change perhaps still under way.
    fulfilled: Vec<usize>,
    /// Faults that are over, and nobody has noted it yet.
    over: Vec<usize>,
    /// Members that left; they still run.
    departed: Vec<String>,
    /// Rounds of asking so far.
    turn: usize,
    closed: bool,
}

impl Desk {
    /// A desk for `nodes`, of which those of the era `first` are members.
    #[must_use]
    pub fn new(nodes: Vec<String>, first: Era) -> Self {
        let shared = Shared {
            nodes,
            asked: VecDeque::new(),
            eras: vec![first],
            moving: false,
            fulfilled: Vec::new(),
            over: Vec::new(),
            departed: Vec::new(),
            turn: 0,
            closed: false,
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// Asks for a change, on behalf of a fault that was planned for `at_ms`.
    pub fn ask(&self, fault: usize, at_ms: u64, wish: Wish) {
        self.lock().asked.push_back(Asked {
            fault,
            at_ms,
            wish,
            since_ns: None,
            why: "nobody was asked yet".into(),
        });
    }

    /// Asks for all changes that `planned` is about.
    pub fn ask_for(&self, fault: usize, planned: &PlannedFault) {
        let ask = |wish| self.ask(fault, planned.from_ms, wish);
        for target in &planned.targets {
            match planned.kind {
                FaultKind::Leave => ask(Wish::Leave(target.clone())),
                FaultKind::Remove | FaultKind::Replace => ask(Wish::Remove(target.clone())),
                _ => {}
            }
        }
        for node in &planned.joining {
            ask(Wish::Join(node.clone()));
        }
    }

    /// The faults that are over since the last call.
    #[must_use]
    pub fn take_over(&self) -> Vec<usize> {
        std::mem::take(&mut self.lock().over)
    }

    /// All eras so far; the last one has no end.
    #[must_use]
    pub fn eras(&self) -> Vec<Era> {
        self.lock().eras.clone()
    }

    /// The members of the newest view, as numbers of nodes.
    #[must_use]
    pub fn members(&self) -> Vec<usize> {
        let shared = self.lock();
        let Some(era) = shared.eras.last() else { return Vec::new() };
        shared.numbers(|node| era.members.contains(node))
    }

    /// Members that left and still run, as numbers of nodes.
    #[must_use]
    pub fn departed(&self) -> Vec<usize> {
        let shared = self.lock();
        shared.numbers(|node| shared.departed.contains(node))
    }

    /// Whom clients ask, as numbers of nodes: members, and those that left and still run.
    #[must_use]
    pub fn roster(&self) -> Vec<usize> {
        let mut roster = self.members();
        roster.extend(self.departed());
        roster.sort_unstable();
        roster
    }

    /// What is not done yet, as text.
    #[must_use]
    pub fn pending(&self) -> Option<String> {
        let shared = self.lock();
        match shared.asked.front() {
            Some(asked) => Some(format!("{:?} was not accepted: {}", asked.wish, asked.why)),
            None if shared.moving => Some("a change of the members is still under way".into()),
            None => None,
        }
    }

    /// The operator may go home.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn is_moving(&self) -> bool {
        self.lock().moving
    }

    pub(super) fn next(&self) -> Option<Asked> {
        self.lock().asked.front().cloned()
    }

    /// Which round of asking this is: the rounds go through the members.
    pub(super) fn turn(&self) -> usize {
        self.lock().turn
    }

    /// Another round begins.
    pub(super) fn turn_over(&self) {
        self.lock().turn += 1;
    }

    /// A wish that another fault left at the same instant as the first: somebody else asks for it, at once.
    pub(super) fn rival(&self) -> Option<Asked> {
        let shared = self.lock();
        let first = shared.asked.front()?;
        let is_rival = |other: &&Asked| other.at_ms == first.at_ms && other.fault != first.fault;
        shared.asked.iter().find(is_rival).cloned()
    }

    /// All wishes that are not fulfilled, in order.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.lock().asked.iter().cloned().collect()
    }

    /// The cluster is asked for this wish now: from here on it may be fulfilled at any time.
    pub(super) fn asking(&self, wish: &Wish, now_ns: u64) {
        if let Some(asked) = self.lock().asked.iter_mut().find(|asked| asked.wish == *wish) {
            asked.since_ns.get_or_insert(now_ns);
        }
    }

    /// This wish was not fulfilled this time.
    pub(super) fn refused(&self, wish: &Wish, why: String) {
        if let Some(asked) = self.lock().asked.iter_mut().find(|asked| asked.wish == *wish) {
            asked.why = why;
        }
    }

    /// This wish is fulfilled; `era` is that of the view in which it is.
    pub(super) fn accepted(&self, wish: &Wish, era: Era) {
        let mut shared = self.lock();
        let place = shared.asked.iter().position(|asked| asked.wish == *wish);
        let Some(asked) = place.and_then(|place| shared.asked.remove(place)) else { return };
        if let Wish::Leave(node) = asked.wish {
            shared.departed.push(node);
        }
        shared.eras.push(era);
        shared.moving = true;
        if shared.asked.iter().all(|other| other.fault != asked.fault) {
            shared.fulfilled.push(asked.fault);
        }
    }

    /// Every member was seen in the `views`th view with nothing under way. That counts for nothing if
    /// another change was accepted meanwhile.
    pub(super) fn settled(&self, views: usize, now_ns: u64) {
        let mut shared = self.lock();
        if shared.eras.len() != views {
            return;
        }
        shared.moving = false;
        if let Some((_, before)) = shared.eras.split_last_mut() {
            for era in before {
                era.span.until_ns = era.span.until_ns.min(now_ns);
            }
        }
        let fulfilled = std::mem::take(&mut shared.fulfilled);
        shared.over.extend(fulfilled);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn numbers(&self, counts: impl Fn(&String) -> bool) -> Vec<usize> {
        self.nodes.iter().enumerate().filter(|(_, node)| counts(node)).map(|(i, _)| i).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Span;

    fn era(from_ns: u64, members: &[&str]) -> Era {
        Era {
            span: Span { from_ns, until_ns: u64::MAX },
            members: members.iter().map(|&m| m.to_owned()).collect(),
            owners: Vec::new(),
        }
    }

    #[test]
    fn an_era_ends_once_every_member_is_past_it_and_a_fault_once_all_it_wished_for_is_through() {
        let nodes = ["n1", "n2", "n3", "n4"].map(str::to_owned).to_vec();
        let desk = Desk::new(nodes, era(0, &["n1", "n2", "n3"]));
        desk.ask(7, 100, Wish::Leave("n2".into()));
        desk.ask(7, 100, Wish::Join("n4".into()));
        assert!(desk.rival().is_none(), "one fault wishes for one thing after the other");
        let (leave, join) = (Wish::Leave("n2".into()), Wish::Join("n4".into()));
        desk.asking(&leave, 10);
        desk.asking(&leave, 20);
        assert_eq!(desk.next().and_then(|asked| asked.since_ns), Some(10));
        desk.refused(&leave, "n1 is tired".into());
        assert!(desk.pending().is_some_and(|why| why.contains("n1 is tired")));
        desk.accepted(&leave, era(10, &["n1", "n3"]));
        // Seen before the change was accepted: the first era goes on until 30, as shows below.
        desk.settled(1, 29);
        desk.settled(2, 30);
        assert!(desk.take_over().is_empty(), "n4 has not joined");
        desk.accepted(&join, era(40, &["n1", "n3", "n4"]));
        assert!(desk.take_over().is_empty() && desk.pending().is_some());
        desk.settled(3, 50);
        assert_eq!((desk.take_over(), desk.take_over(), desk.pending()), (vec![7], vec![], None));
        assert_eq!(
            (desk.members(), desk.departed(), desk.roster()),
            (vec![0, 2, 3], vec![1], vec![0, 1, 2, 3])
        );
        let spans: Vec<_> = desk.eras().iter().map(|e| (e.span.from_ns, e.span.until_ns)).collect();
        assert_eq!(spans, [(0, 30), (10, 50), (40, u64::MAX)]);
    }

    #[test]
    fn what_two_faults_wish_for_at_one_instant_is_asked_for_at_once() {
        let desk = Desk::new(["n1", "n2", "n3"].map(str::to_owned).to_vec(), era(0, &["n1", "n2"]));
        desk.ask(1, 100, Wish::Join("n3".into()));
        desk.ask(2, 200, Wish::Leave("n1".into()));
        assert!(desk.rival().is_none());
        desk.ask(3, 100, Wish::Leave("n2".into()));
        assert_eq!(desk.rival().map(|asked| asked.fault), Some(3));
    }
}
