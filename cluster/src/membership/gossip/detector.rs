//! What one node makes of gossip: datagrams, timers and views in, datagrams and changes of mind out.
//!
//! The SWIM protocol itself is the library's (foca). Added here:
//!
//! - Only members of the view are listened to, probed and spoken of.
//! - The view says who else there is. Members that are not known to be alive are spoken to every
//!   second ("knocking"), so nodes find each other at the start, after a partition and after a
//!   restart, whoever of them is reached first.
//! - A suspect is told so by all who send it anything, and every second by those who will declare
//!   it down; it clears itself with its very answer.
//! - A node that has heard nobody for seconds, or whose own timers come seconds late, was cut off
//!   or stood still. What it thinks of the others since is worthless, and spreading it would take
//!   healthy nodes down: it forgets all that and begins anew, as a later life.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use foca::{AccumulatingRuntime, Foca, NoCustomBroadcast, OwnedNotification, PostcardCodec, State};
use quorate_env::{Random, RandomStream};
use rand::RngExt;
use rand::seq::IteratorRandom;

use super::board::{Liveness, Seen};
use super::datagram::{self, Datagram};
use super::pace::{
    FIRST_KNOCKS, KNOCK_PERIOD, KNOCKS, LOST_TOUCH_AFTER, RUMOUR_PERIOD, RUMOURS, STOOD_STILL_AFTER, config,
    unheard_grace,
};
use super::{GossipId, Incarnation};
use crate::config::NodeId;
use crate::membership::ViewVersion;

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a datagram; losing it is no error.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        datagram: Datagram,
    },
    /// This member is down, as far as can be told.
    Down(NodeId),
    /// This member is there again.
    Up(NodeId),
    /// Somebody holds a newer view than this node.
    NewerView {
        /// Who would hand it out.
        held_by: NodeId,
        /// Which.
        version: ViewVersion,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Timer {
    Swim(foca::Timer<GossipId>),
    /// Time to speak to members that are not known to be alive.
    Knock,
    /// Time to tell others of this node's new view, so many times more.
    Rumour(u32),
}

/// What this node thinks of another member.
#[derive(Clone, Copy, Debug)]
struct Opinion {
    /// Since when nothing has been heard of it, if nothing has.
    unheard_since: Duration,
    /// Its latest life that was heard of.
    incarnation: Option<Incarnation>,
    /// Whether the library counts it as active.
    is_active: bool,
    /// Whether [`Effect::Down`] was the last said of it.
    is_down: bool,
}

type Swim = Foca<GossipId, PostcardCodec, RandomStream, NoCustomBroadcast>;

/// One node's part in gossip. Times count from any fixed moment, the same for all calls.
pub struct Detector {
    swim: Swim,
    outbox: AccumulatingRuntime<GossipId>,
    random: Random,
    choices: RandomStream,
    /// How often this node began anew.
    begun: u64,
    view: ViewVersion,
    /// Everybody else in the view; nobody if this node is not in it.
    others: BTreeMap<NodeId, Opinion>,
    timers: BTreeMap<(Duration, u64), Timer>,
    timers_made: u64,
    /// When a member was last heard.
    heard_at: Duration,
    effects: Vec<Effect>,
    ignored: u64,
}

impl Detector {
    /// A node that knows nobody yet: [`Self::set_view`] tells it of the others.
    #[must_use]
    pub fn new(me: GossipId, random: Random) -> Self {
        Self {
            swim: swim(me, 1, random, 0),
            outbox: AccumulatingRuntime::new(),
            random,
            choices: random.stream("choices"),
            begun: 0,
            view: ViewVersion { epoch: 0, phase: crate::membership::Phase::Stable, fence: 0 },
            others: BTreeMap::new(),
            timers: BTreeMap::new(),
            timers_made: 0,
            heard_at: Duration::ZERO,
            effects: Vec::new(),
            ignored: 0,
        }
    }

    /// This node as the others should see it.
    #[must_use]
    pub fn identity(&self) -> GossipId {
        *self.swim.identity()
    }

    /// Takes a view: from now on its `members`, and nobody else, are listened to and spoken of.
    pub fn set_view(&mut self, now: Duration, version: ViewVersion, members: &BTreeSet<NodeId>) {
        let is_first = self.others.is_empty();
        let me = self.identity().node;
        let none = BTreeSet::new();
        let members = if members.contains(&me) { members } else { &none };
        self.others.retain(|node, _| members.contains(node));
        for node in members.iter().filter(|node| **node != me) {
            self.others.entry(*node).or_insert(Opinion {
                unheard_since: now,
                incarnation: None,
                is_active: false,
                is_down: false,
            });
        }
        self.forget_departed();
        // Only the parameters that follow from the size differ, and those may change at any time.
        let _ = self.swim.set_config(config(members.len()));
        let is_newer = version > self.view;
        self.view = version;
        if is_first && !self.others.is_empty() {
            self.heard_at = now;
            self.begin(now);
        } else if is_newer {
            self.spread();
            self.after(now, RUMOUR_PERIOD, Timer::Rumour(RUMOURS - 1));
        }
        self.settle(now);
    }

    /// Takes what `from` sent, whose name the connection vouches for.
    pub fn receive(&mut self, now: Duration, from: NodeId, datagram: &Datagram) {
        if !self.others.contains_key(&from) {
            self.ignored += 1;
            return;
        }
        self.doubt_oneself(now);
        self.heard_at = now;
        if datagram.view > self.view {
            self.effects.push(Effect::NewerView { held_by: from, version: datagram.view });
        }
        if let Some(known) = datagram.spoken_to
            && known > self.identity().incarnation
        {
            let later = GossipId { incarnation: known.next(), ..self.identity() };
            self.note(|swim, outbox| swim.change_identity(later, outbox));
            self.knock(FIRST_KNOCKS);
        }
        let me = self.identity();
        if let Some((_, count)) = datagram.suspected.filter(|(life, _)| *life == me.incarnation) {
            let suspicion = std::iter::once(foca::Member::new(me, count, State::Suspect));
            self.note(|swim, outbox| swim.apply_many(suspicion, true, outbox));
        }
        if !datagram.packet.is_empty() {
            self.take_packet(from, &datagram.packet);
        }
        self.settle(now);
    }

    fn take_packet(&mut self, from: NodeId, packet: &Bytes) {
        let me = self.identity().node;
        let wanted = |node| node == me || self.others.contains_key(&node);
        let Ok(read) = datagram::read(packet, wanted) else {
            self.ignored += 1;
            return;
        };
        let speaks_as = read.header.src;
        if speaks_as.node != from {
            self.ignored += 1;
            return;
        }
        if let Some(known) = self.latest_of(from).filter(|known| *known > speaks_as.incarnation) {
            // The library would tell it that it is down and have it come back as the next life
            // after this one, which may be long past here too.
            self.ignored += 1;
            let (view, packet) = (self.view, Bytes::new());
            let datagram = Datagram { view, spoken_to: Some(known), suspected: None, packet };
            self.effects.push(Effect::Send { to: from, datagram });
            return;
        }
        self.note(|swim, outbox| swim.handle_data(&read.filtered, outbox));
    }

    /// The latest life of `node` that the library holds.
    fn latest_of(&self, node: NodeId) -> Option<Incarnation> {
        let held = self.swim.iter_membership_state().find(|held| held.id().node == node);
        held.map(|held| held.id().incarnation)
    }

    /// Everybody who is suspected: the life, and the library's own count.
    fn suspects(&self) -> BTreeMap<NodeId, (Incarnation, u16)> {
        let held = self.swim.iter_membership_state().filter(|held| held.state() == State::Suspect);
        held.map(|held| (held.id().node, (held.id().incarnation, held.incarnation()))).collect()
    }

    /// When [`Self::tick`] must be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Duration) {
        self.doubt_timers(now);
        while let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= now) {
            match entry.remove() {
                Timer::Knock => {
                    self.give_up_the_unheard(now);
                    self.knock(KNOCKS);
                    self.hear_the_accused();
                    self.schedule_knock(now);
                }
                Timer::Rumour(left) => {
                    self.spread();
                    if let Some(left) = left.checked_sub(1).filter(|left| *left > 0) {
                        self.after(now, RUMOUR_PERIOD, Timer::Rumour(left));
                    }
                }
                Timer::Swim(foca::Timer::ChangeSuspectToDown { .. })
                    if now.saturating_sub(self.heard_at) > LOST_TOUCH_AFTER =>
                {
                    self.begin_anew(now);
                }
                Timer::Swim(timer) => self.note(|swim, outbox| swim.handle_timer(timer, outbox)),
            }
            self.settle(now);
        }
    }

    /// What is to be done, in order. Ask after every call.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// How many messages made no sense or came from somebody who is no member, so far.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// How many other members are alive or suspect.
    #[must_use]
    pub fn active(&self) -> usize {
        self.swim.num_members()
    }

    /// Every member as this node sees it, itself included.
    #[must_use]
    pub fn seen(&self) -> BTreeMap<NodeId, Seen> {
        let unheard = |opinion: &Opinion| Seen {
            liveness: if opinion.is_down { Liveness::Down } else { Liveness::Suspect },
            incarnation: opinion.incarnation,
        };
        let mut seen: BTreeMap<NodeId, Seen> =
            self.others.iter().map(|(node, opinion)| (*node, unheard(opinion))).collect();
        for member in self.swim.iter_membership_state() {
            let liveness = match member.state() {
                State::Alive => Liveness::Alive,
                State::Suspect => Liveness::Suspect,
                State::Down => Liveness::Down,
            };
            if let Some(seen) = seen.get_mut(&member.id().node) {
                *seen = Seen { liveness, incarnation: Some(member.id().incarnation) };
            }
        }
        let me = self.identity();
        seen.insert(me.node, Seen { liveness: Liveness::Alive, incarnation: Some(me.incarnation) });
        seen
    }

    /// Begins anew if what this node believes stems from a time in which it heard nobody.
    fn doubt_oneself(&mut self, now: Duration) {
        self.doubt_timers(now);
        if self.swim.num_members() > 0 && now.saturating_sub(self.heard_at) > LOST_TOUCH_AFTER {
            self.begin_anew(now);
        }
    }

    /// Begins anew if this node stood still.
    fn doubt_timers(&mut self, now: Duration) {
        if self.next_deadline().is_some_and(|at| now.saturating_sub(at) > STOOD_STILL_AFTER) {
            self.begin_anew(now);
        }
    }

    fn begin_anew(&mut self, now: Duration) {
        let me = GossipId { incarnation: self.identity().incarnation.next(), ..self.identity() };
        self.begun += 1;
        self.swim = swim(me, self.others.len() + 1, self.random, self.begun);
        self.outbox = AccumulatingRuntime::new();
        for opinion in self.others.values_mut() {
            opinion.is_active = false;
            if !opinion.is_down {
                opinion.unheard_since = self.heard_at.max(opinion.unheard_since);
            }
        }
        self.begin(now);
    }

    fn begin(&mut self, now: Duration) {
        self.timers.clear();
        self.knock(FIRST_KNOCKS);
        self.schedule_knock(now);
    }

    fn schedule_knock(&mut self, now: Duration) {
        let spread = self.choices.random_range(0.8..1.2);
        self.after(now, KNOCK_PERIOD.mul_f64(spread), Timer::Knock);
    }

    /// Speaks to a few members that are not known to be alive.
    fn knock(&mut self, count: usize) {
        let silent = self.others.iter().filter(|(_, opinion)| !opinion.is_active).map(|(node, _)| *node);
        for node in silent.sample(&mut self.choices, count) {
            speak_to(&mut self.swim, &mut self.outbox, node);
        }
    }

    /// Speaks to those whom this node itself suspects and will declare down: they may have fallen
    /// silent together with the news that they are suspected, and deserve to hear of it.
    fn hear_the_accused(&mut self) {
        for timer in self.timers.values() {
            if let Timer::Swim(foca::Timer::ChangeSuspectToDown { member_id, .. }) = timer {
                speak_to(&mut self.swim, &mut self.outbox, member_id.node);
            }
        }
    }

    /// Members that nothing at all has been heard of for long.
    fn give_up_the_unheard(&mut self, now: Duration) {
        let grace = unheard_grace(&config(self.others.len() + 1));
        for (node, opinion) in &mut self.others {
            let is_unheard = !opinion.is_active && !opinion.is_down;
            if is_unheard && now.saturating_sub(opinion.unheard_since) > grace {
                opinion.is_down = true;
                self.effects.push(Effect::Down(*node));
            }
        }
    }

    /// Tells a few members what view this node is in, by whatever message.
    fn spread(&mut self) {
        self.note(|swim, outbox| swim.gossip(outbox));
    }

    /// Drops what the library holds of nodes that are not members.
    fn forget_departed(&mut self) {
        let departed: Vec<GossipId> = self
            .swim
            .iter_membership_state()
            .map(|m| *m.id())
            .filter(|id| !self.others.contains_key(&id.node))
            .collect();
        for id in departed {
            let down = std::iter::once(foca::Member::down(id));
            self.note(|swim, outbox| swim.apply_many(down, false, outbox));
            self.note(|swim, outbox| swim.handle_timer(foca::Timer::RemoveDown(id), outbox));
        }
    }

    /// Has the library do something. Whatever it objects to is a message that made no sense.
    fn note(
        &mut self,
        act: impl FnOnce(&mut Swim, &mut AccumulatingRuntime<GossipId>) -> Result<(), foca::Error>,
    ) {
        if let Err(error) = act(&mut self.swim, &mut self.outbox) {
            tracing::debug!(%error, "gossip");
            self.ignored += 1;
        }
    }

    fn after(&mut self, now: Duration, pause: Duration, timer: Timer) {
        self.timers_made += 1;
        self.timers.insert((now + pause, self.timers_made), timer);
    }

    /// Takes over what the library wants done.
    fn settle(&mut self, now: Duration) {
        let mut rejoined = false;
        while let Some(notification) = self.outbox.to_notify() {
            match notification {
                OwnedNotification::MemberUp(id) => self.came_up(id),
                OwnedNotification::MemberDown(id) => self.went_down(now, id),
                OwnedNotification::Rename(_, id) => self.learn_life(id),
                OwnedNotification::Rejoin(_) => rejoined = true,
                OwnedNotification::Active | OwnedNotification::Idle | OwnedNotification::Defunct => {}
            }
        }
        if rejoined {
            // Whoever declared this node down must hear of its new life.
            self.knock(FIRST_KNOCKS);
        }
        while let Some((pause, timer)) = self.outbox.to_schedule() {
            self.after(now, pause, Timer::Swim(timer));
        }
        let mut suspects = None;
        while let Some((to, packet)) = self.outbox.to_send() {
            if self.others.contains_key(&to.node) {
                let suspects = suspects.get_or_insert_with(|| self.suspects());
                let suspected = suspects.get(&to.node).copied();
                let datagram = Datagram { view: self.view, spoken_to: None, suspected, packet };
                self.effects.push(Effect::Send { to: to.node, datagram });
            }
        }
    }

    fn came_up(&mut self, id: GossipId) {
        self.learn_life(id);
        let Some(opinion) = self.others.get_mut(&id.node) else { return };
        opinion.is_active = true;
        if opinion.is_down {
            opinion.is_down = false;
            self.effects.push(Effect::Up(id.node));
        }
    }

    fn went_down(&mut self, now: Duration, id: GossipId) {
        let Some(opinion) = self.others.get_mut(&id.node) else { return };
        opinion.is_active = false;
        opinion.unheard_since = now;
        if !opinion.is_down {
            opinion.is_down = true;
            self.effects.push(Effect::Down(id.node));
        }
    }

    fn learn_life(&mut self, id: GossipId) {
        if let Some(opinion) = self.others.get_mut(&id.node) {
            opinion.incarnation = Some(id.incarnation);
        }
    }
}

fn swim(me: GossipId, members: usize, random: Random, begun: u64) -> Swim {
    Foca::new(me, config(members), random.stream(&format!("swim-{begun}")), PostcardCodec)
}

/// Says "I am here, who else is?". Whoever is called by the name takes it, whatever its life.
fn speak_to(swim: &mut Swim, outbox: &mut AccumulatingRuntime<GossipId>, node: NodeId) {
    let anyone = GossipId { node, incarnation: Incarnation::default() };
    // A packet without news always has room and an encoding.
    let _ = swim.announce(anyone, outbox);
}
