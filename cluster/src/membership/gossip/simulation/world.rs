//! The nodes, what is on its way between them, and the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate_env::{Random, RandomStream};
use rand::RngExt;

use super::super::{Datagram, Detector, Effect, GossipId, Incarnation};
use super::{Settings, Traffic};
use crate::config::NodeId;
use crate::membership::{Phase, ViewVersion};
use crate::rpc::gossip_frame_bytes;

/// Nodes are called by their place in the list.
type Place = usize;

#[derive(Debug)]
enum Event {
    Start(Place),
    Arrive {
        to: Place,
        from: Place,
        datagram: Datagram,
    },
    /// A timer of a node is due, unless it was called for an earlier time since.
    Wake(Place),
    /// A node receives the newer view that it asked for.
    Learn(Place),
}

impl Event {
    /// Whose it is.
    fn of(&self) -> Option<Place> {
        match self {
            Self::Start(_) => None,
            Self::Arrive { to: place, .. } | Self::Wake(place) | Self::Learn(place) => Some(*place),
        }
    }
}

struct Node {
    id: NodeId,
    /// Nothing while it does not run.
    detector: Option<Detector>,
    starts: u64,
    view: ViewVersion,
    wakes_at: Option<Duration>,
    /// How many others it takes to be there.
    active: usize,
    /// Whom it takes to be down.
    downs: BTreeSet<Place>,
}

pub(super) struct World {
    settings: Settings,
    random: Random,
    choices: RandomStream,
    now: Duration,
    /// By time, then in the order in which they were made.
    events: BTreeMap<(Duration, u64), Event>,
    events_made: u64,
    nodes: Vec<Node>,
    places: BTreeMap<NodeId, Place>,
    members: BTreeSet<NodeId>,
    newest: ViewVersion,
    /// Nodes that only reach each other, and are reached by nobody else.
    cut_off: BTreeSet<Place>,
    /// Nodes that stand still, and what waits for them.
    stopped: BTreeMap<Place, Vec<Event>>,
    /// Pairs of nodes of which one takes the other to be there.
    pairs: usize,
    /// By how many each node is taken to be down.
    down_by: Vec<usize>,
    declared_down: u64,
    messages: u64,
    bytes: u64,
    counted_from: Duration,
}

impl World {
    pub(super) fn new(settings: &Settings) -> Self {
        let random = Random::from_seed(settings.seed).child("gossip-simulation");
        let newest = ViewVersion { epoch: 1, phase: Phase::Stable, fence: 0 };
        let node = |place: Place| Node {
            id: format!("n{}", place + 1).parse().expect("a letter and digits make a name"),
            detector: None,
            starts: 0,
            view: newest,
            wakes_at: None,
            active: 0,
            downs: BTreeSet::new(),
        };
        let nodes: Vec<Node> = (0..settings.nodes).map(node).collect();
        let mut world = Self {
            settings: settings.clone(),
            random,
            choices: random.stream("world"),
            now: Duration::ZERO,
            events: BTreeMap::new(),
            events_made: 0,
            places: nodes.iter().enumerate().map(|(place, node)| (node.id, place)).collect(),
            members: nodes.iter().map(|node| node.id).collect(),
            nodes,
            newest,
            cut_off: BTreeSet::new(),
            stopped: BTreeMap::new(),
            pairs: 0,
            down_by: vec![0; settings.nodes],
            declared_down: 0,
            messages: 0,
            bytes: 0,
            counted_from: Duration::ZERO,
        };
        for place in 0..settings.nodes {
            let at = settings.start_within.mul_f64(world.choices.random_range(0.0..1.0));
            world.at(at, Event::Start(place));
        }
        world
    }

    pub(super) fn now(&self) -> Duration {
        self.now
    }

    pub(super) fn anybody(&mut self) -> Place {
        self.choices.random_range(0..self.nodes.len())
    }

    pub(super) fn all_know_all(&self) -> bool {
        self.pairs == self.nodes.len() * (self.nodes.len() - 1)
    }

    pub(super) fn all_in_newest_view(&self) -> bool {
        self.nodes.iter().all(|node| node.view == self.newest)
    }

    pub(super) fn believed_down_by(&self, place: Place) -> usize {
        self.down_by[place]
    }

    pub(super) fn declared_down(&self) -> u64 {
        self.declared_down
    }

    /// What a node has sent a second since this was last asked.
    pub(super) fn traffic(&mut self) -> Traffic {
        let node_seconds = (self.now - self.counted_from).as_secs_f64() * self.nodes.len() as f64;
        let traffic = Traffic {
            messages_per_s: self.messages as f64 / node_seconds.max(f64::MIN_POSITIVE),
            bytes_per_s: self.bytes as f64 / node_seconds.max(f64::MIN_POSITIVE),
        };
        (self.messages, self.bytes, self.counted_from) = (0, 0, self.now);
        traffic
    }

    /// Goes on until `done`, for `patience` at most. Says how long that took, if it is done.
    pub(super) fn run_until(&mut self, patience: Duration, done: impl Fn(&Self) -> bool) -> Option<Duration> {
        let began = self.now;
        loop {
            if done(self) {
                return Some(self.now - began);
            }
            let next = self.events.first_entry().filter(|next| next.key().0 <= began + patience);
            let Some(next) = next else {
                self.now = began + patience;
                return None;
            };
            self.now = next.key().0;
            let event = next.remove();
            self.play(event);
        }
    }

    fn play(&mut self, event: Event) {
        let now = self.now;
        if let Some(waiting) = event.of().and_then(|place| self.stopped.get_mut(&place)) {
            waiting.push(event);
            return;
        }
        match event {
            Event::Start(place) => self.start(place),
            Event::Arrive { to, from, datagram } => {
                let from = self.nodes[from].id;
                self.with(to, |detector| detector.receive(now, from, &datagram));
            }
            Event::Wake(place) if self.nodes[place].wakes_at.is_some_and(|at| at <= now) => {
                self.nodes[place].wakes_at = None;
                self.with(place, |detector| detector.tick(now));
            }
            Event::Wake(_) => {}
            Event::Learn(place) => self.learn(place),
        }
    }

    /// Starts a node, or starts it again.
    pub(super) fn start(&mut self, place: Place) {
        let node = &mut self.nodes[place];
        node.starts += 1;
        node.view = self.newest;
        let me = GossipId { node: node.id, incarnation: Incarnation::of_start(node.starts) };
        let random = self.random.child(node.id.as_str()).child(&node.starts.to_string());
        let mut detector = Detector::new(me, random);
        detector.set_view(self.now, self.newest, &self.members);
        node.detector = Some(detector);
        self.carry_out(place);
    }

    /// Without a word, and all that it believed is gone.
    pub(super) fn crash(&mut self, place: Place) {
        let node = &mut self.nodes[place];
        node.detector = None;
        node.wakes_at = None;
        self.pairs -= std::mem::take(&mut node.active);
        for down in std::mem::take(&mut node.downs) {
            self.down_by[down] -= 1;
        }
    }

    /// From now on messages between these nodes and all others are lost.
    pub(super) fn cut_off(&mut self, places: impl IntoIterator<Item = Place>) {
        self.cut_off = places.into_iter().collect();
    }

    /// The node does nothing, and whatever comes waits for it.
    #[cfg(test)]
    pub(super) fn stop(&mut self, place: Place) {
        self.stopped.insert(place, Vec::new());
    }

    /// The node goes on where it stood, with old beliefs and late timers.
    #[cfg(test)]
    pub(super) fn resume(&mut self, place: Place) {
        for event in self.stopped.remove(&place).unwrap_or_default() {
            self.at(self.now, event);
        }
    }

    /// One node learns a view of which nobody else has heard.
    pub(super) fn change_view(&mut self, place: Place) {
        self.newest.epoch += 1;
        self.learn(place);
    }

    fn learn(&mut self, place: Place) {
        let (now, newest, members) = (self.now, self.newest, self.members.clone());
        if self.nodes[place].view < newest {
            self.nodes[place].view = newest;
            self.with(place, |detector| detector.set_view(now, newest, &members));
        }
    }

    fn with(&mut self, place: Place, act: impl FnOnce(&mut Detector)) {
        if let Some(detector) = &mut self.nodes[place].detector {
            act(detector);
            self.carry_out(place);
        }
    }

    fn carry_out(&mut self, place: Place) {
        let node = &mut self.nodes[place];
        let Some(detector) = &mut node.detector else { return };
        let effects = detector.take_effects();
        self.pairs = self.pairs + detector.active() - node.active;
        node.active = detector.active();
        let due = detector.next_deadline().map(|due| due.max(self.now));
        if due != node.wakes_at {
            node.wakes_at = due;
            if let Some(due) = due {
                self.at(due, Event::Wake(place));
            }
        }
        for effect in effects {
            match effect {
                Effect::Send { to, datagram } => self.send(place, self.places[&to], datagram),
                Effect::Down(node) => {
                    let down = self.places[&node];
                    self.declared_down += 1;
                    self.nodes[place].downs.insert(down);
                    self.down_by[down] += 1;
                }
                Effect::Up(node) => {
                    let up = self.places[&node];
                    self.nodes[place].downs.remove(&up);
                    self.down_by[up] -= 1;
                }
                Effect::NewerView { .. } => {
                    // To ask for it and to be answered.
                    let at = self.now + self.latency() + self.latency();
                    self.at(at, Event::Learn(place));
                }
            }
        }
    }

    fn send(&mut self, from: Place, to: Place, datagram: Datagram) {
        self.messages += 1;
        self.bytes += gossip_frame_bytes(&datagram) as u64;
        let is_cut = self.cut_off.contains(&from) != self.cut_off.contains(&to);
        if !self.choices.random_bool(self.settings.loss) && !is_cut {
            let at = self.now + self.latency();
            self.at(at, Event::Arrive { to, from, datagram });
        }
    }

    fn latency(&mut self) -> Duration {
        let (least, most) = self.settings.latency;
        self.choices.random_range(least..=most)
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.events_made += 1;
        self.events.insert((at, self.events_made), event);
    }
}
