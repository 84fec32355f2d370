//! Thousands of nodes' [`Detector`]s without a network: a queue of events, with latency and loss
//! drawn from the seed. Says how fast news spreads and what that costs; the code that decides is
//! the one that nodes run.
//!
//! Not here: connections, disks, requests. A message takes its latency whatever else there is.

#[cfg(test)]
mod tests;
mod world;

use std::time::Duration;

use serde::Serialize;

use world::World;

/// How long a cluster that has found itself is left alone before it is called calm.
const REST: Duration = Duration::from_secs(10);

/// How long the halves are cut from each other.
const SPLIT_FOR: Duration = Duration::from_secs(30);

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many nodes.
    pub nodes: usize,
    /// All chance comes from it.
    pub seed: u64,
    /// Nodes start within so long of each other.
    pub start_within: Duration,
    /// Least and greatest time that a message takes.
    pub latency: (Duration, Duration),
    /// How many messages are lost, of one.
    pub loss: f64,
    /// How long the calm cluster is watched, to count messages.
    pub calm: Duration,
    /// When a stage that has not come to its end is given up.
    pub patience: Duration,
}

impl Settings {
    /// So many nodes, with defaults for the rest: a start within 100 ms, latency from 0.5 to
    /// 5 ms, and one message in a hundred lost.
    #[must_use]
    pub fn new(nodes: usize, seed: u64) -> Self {
        let ms = Duration::from_millis;
        Self {
            nodes,
            seed,
            start_within: ms(100),
            latency: (Duration::from_micros(500), ms(5)),
            loss: 0.01,
            calm: Duration::from_secs(20),
            patience: Duration::from_secs(120),
        }
    }
}

impl Settings {
    /// What the nodes go by and what they are put through, for people.
    #[must_use]
    pub fn parameters(&self) -> String {
        let config = super::pace::config(self.nodes);
        let (least, most) = self.latency;
        format!(
            "a probe every {:?}, answered within {:?} or put to {} others; a suspect is down after {:.1?}; news \
             is sent {} times, to 3 nodes every 200ms; packets up to {} bytes. Latency {least:?} to {most:?}, \
             {} % lost",
            config.probe_period,
            config.probe_rtt,
            config.num_indirect_probes,
            config.suspect_to_down_after,
            config.max_transmissions,
            config.max_packet_size,
            self.loss * 100.0,
        )
    }
}

/// What came of it. Times are in simulated seconds; nothing means that it did not happen in time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// How many nodes.
    pub nodes: usize,
    /// How many messages were lost, of one.
    pub loss: f64,
    /// From the start of the first node until every node knew every other to be alive.
    pub all_know_all_s: Option<f64>,
    /// What one node sent a second until then, on average.
    pub joining: Traffic,
    /// What one node sent a second while nothing happened, on average.
    pub calm: Traffic,
    /// How often a node was declared down until then, although nothing was wrong with any.
    pub false_downs: u64,
    /// From a crash until the first other node knew of it.
    pub crash_known_first_s: Option<f64>,
    /// From a crash until all other nodes knew of it.
    pub crash_known_all_s: Option<f64>,
    /// From its restart until nobody took it to be down any more.
    pub restart_known_all_s: Option<f64>,
    /// From its restart until it knew all others again.
    pub restart_knows_all_s: Option<f64>,
    /// From the end of half a minute in which one half did not reach the other until all knew all.
    pub healed_known_all_s: Option<f64>,
    /// From a new view at one node until every node had heard of it and pulled it.
    pub view_known_all_s: Option<f64>,
}

/// What one node sends, on average.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Traffic {
    /// Messages a second.
    pub messages_per_s: f64,
    /// Bytes a second, as frames of the peer protocol.
    pub bytes_per_s: f64,
}

/// Plays it: all start, calm, one node crashes, it restarts, the cluster is split
/// and healed, one node learns a new view.
///
/// # Panics
/// If there is no node at all.
#[must_use]
pub fn simulate(settings: &Settings) -> Outcome {
    assert!(settings.nodes > 0, "somebody must take part");
    let patience = settings.patience;
    let mut world = World::new(settings);
    let all_know_all = world.run_until(patience, World::all_know_all);
    let joining = world.traffic();
    // The last news is still being repeated.
    world.run_until(REST, |_| false);
    world.traffic();
    world.run_until(settings.calm, |_| false);
    let calm = world.traffic();
    let false_downs = world.declared_down();

    let victim = world.anybody();
    world.crash(victim);
    let crashed_at = world.now();
    let since_crash = |world: &World| (world.now() - crashed_at).as_secs_f64();
    let first = world.run_until(patience, |world| world.believed_down_by(victim) > 0);
    let crash_known_first_s = first.map(|_| since_crash(&world));
    let all = world.run_until(patience, |world| world.believed_down_by(victim) == settings.nodes - 1);
    let crash_known_all_s = all.map(|_| since_crash(&world));
    world.start(victim);
    let restart = world.run_until(patience, |world| world.believed_down_by(victim) == 0);
    let restarted_at = world.now();
    let found = world.run_until(patience, World::all_know_all);
    let found = found.and(restart).map(|_| world.now() - restarted_at + restart.unwrap_or_default());
    world.cut_off(0..settings.nodes / 2);
    world.run_until(SPLIT_FOR, |_| false);
    world.cut_off([]);
    let healed = world.run_until(patience, World::all_know_all);
    let herald = world.anybody();
    world.change_view(herald);
    let view = world.run_until(patience, World::all_in_newest_view);
    let seconds = |duration: Option<Duration>| duration.map(|d| d.as_secs_f64());
    Outcome {
        nodes: settings.nodes,
        loss: settings.loss,
        all_know_all_s: seconds(all_know_all),
        joining,
        calm,
        false_downs,
        crash_known_first_s,
        crash_known_all_s,
        restart_known_all_s: seconds(restart),
        restart_knows_all_s: seconds(found),
        healed_known_all_s: seconds(healed),
        view_known_all_s: seconds(view),
    }
}
