//! Who is alive, as whole nodes see it: the product's own nodes on simulated links, watched tick by
//! tick through the board that each shows its API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorate_chaos::scenario::NetworkSection;
use quorate_chaos::world::sim::{EPOCH_NS, SimClock, SimNetwork};
use quorate_cluster::config::{Administration, Config, Member, NodeId, NodeSection, StoreDefinition};
use quorate_cluster::membership::gossip::{Board, Liveness};
use quorate_cluster::node::{Node, NodeParts};
use quorate_env::{Env, Random, SimulatedDisk};

type Boards = Arc<Mutex<BTreeMap<NodeId, Arc<Board>>>>;

/// Nodes `n1`, `n2` and so on, from their first tick.
struct Cluster {
    sim: turmoil::Sim<'static>,
    nodes: Vec<NodeId>,
    boards: Boards,
    /// Nodes without power.
    dark: BTreeSet<NodeId>,
    /// (by, whom): who was ever seen to be down, while both were up.
    ever_down: BTreeSet<(NodeId, NodeId)>,
}

fn node(n: usize) -> NodeId {
    format!("n{n}").parse().unwrap()
}

fn member(id: NodeId) -> Member {
    let (peer, api) = (format!("{id}:7000"), format!("{id}:80"));
    Member { id, peer, api, capacity: 1, zone: String::new() }
}

/// What a node is told: all members, or only seeds.
fn config(me: &Member, members: &[Member], seeds: &[NodeId]) -> Config {
    let node = NodeSection {
        id: me.id,
        listen: me.api.clone(),
        peer_listen: me.peer.clone(),
        data_dir: String::new(),
        capacity: 1,
        zone: String::new(),
        seeds: seeds.iter().map(|seed| format!("{seed}:7000")).collect(),
        token_key_file: None,
        administration: Administration::Open,
        admin_token_file: None,
        protocol_max: None,
        threads: None,
    };
    let store = StoreDefinition { partitions: 32, ..StoreDefinition::profile("dynamo").unwrap() };
    let members = if seeds.is_empty() { members } else { &[] };
    Config::new(node, None, store, members.to_vec()).unwrap()
}

impl Cluster {
    /// All know all members.
    fn new(count: usize, seed: u64) -> Self {
        Self::start(count, seed, |_| Vec::new())
    }

    /// Nodes that are given seeds know nobody else.
    fn start(count: usize, seed: u64, seeds_of: impl Fn(NodeId) -> Vec<NodeId>) -> Self {
        let network = NetworkSection::default();
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .epoch(std::time::UNIX_EPOCH + Duration::from_nanos(EPOCH_NS))
            .tick_duration(network.tick)
            .min_message_latency(network.latency_min)
            .max_message_latency(network.latency_max)
            .tcp_capacity(16_384)
            .enable_random_order()
            .simulation_duration(Duration::from_secs(3600))
            .build();
        let nodes: Vec<NodeId> = (1..=count).map(node).collect();
        let members: Vec<Member> = nodes.iter().map(|id| member(*id)).collect();
        let boards = Boards::default();
        for me in &members {
            host(&mut sim, config(me, &members, &seeds_of(me.id)), Random::from_seed(seed), &boards);
        }
        Self { sim, nodes, boards, dark: BTreeSet::new(), ever_down: BTreeSet::new() }
    }

    /// Plays on until `done`, for `patience` at most. Says how long it took.
    fn until(&mut self, patience: Duration, what: &str, done: impl Fn(&Self) -> bool) -> Duration {
        let began = self.sim.elapsed();
        while !done(self) {
            let took = self.sim.elapsed() - began;
            assert!(took <= patience, "not within {patience:?}: {what}\n{}", self.describe());
            self.sim.step().unwrap();
            self.note_downs();
        }
        self.sim.elapsed() - began
    }

    fn play(&mut self, duration: Duration) {
        let end = self.sim.elapsed() + duration;
        while self.sim.elapsed() < end {
            self.sim.step().unwrap();
            self.note_downs();
        }
    }

    fn note_downs(&mut self) {
        let boards = self.boards.lock().unwrap();
        for (by, board) in boards.iter().filter(|(by, _)| !self.dark.contains(by)) {
            if board.count(Liveness::Down) > 0 {
                let down = board.all().into_iter().filter(|(_, seen)| seen.liveness == Liveness::Down);
                let lit = down.filter(|(whom, _)| !self.dark.contains(whom));
                self.ever_down.extend(lit.map(|(whom, _)| (*by, whom)));
            }
        }
    }

    fn lit(&self) -> Vec<NodeId> {
        self.nodes.iter().copied().filter(|n| !self.dark.contains(n)).collect()
    }

    fn sees(&self, by: NodeId, whom: NodeId) -> Option<Liveness> {
        self.boards.lock().unwrap().get(&by).and_then(|board| board.seen(whom)).map(|seen| seen.liveness)
    }

    /// Whether all nodes that have power see `whom` so.
    fn all_see(&self, whom: NodeId, liveness: Liveness) -> bool {
        self.lit().iter().filter(|by| **by != whom).all(|by| self.sees(*by, whom) == Some(liveness))
    }

    fn all_alive(&self) -> bool {
        self.lit().iter().all(|whom| self.all_see(*whom, Liveness::Alive))
    }

    fn describe(&self) -> String {
        let row = |by: &NodeId| {
            let seen = self.nodes.iter().map(|whom| match self.sees(*by, *whom) {
                Some(Liveness::Alive) => 'a',
                Some(Liveness::Suspect) => 's',
                Some(Liveness::Down) => 'd',
                None => '-',
            });
            format!("{by:4} {}\n", seen.collect::<String>())
        };
        self.nodes.iter().map(row).collect()
    }

    fn with_links(&self, of: &[NodeId], act: impl Fn(&turmoil::Sim<'static>, &str, &str)) {
        for inside in of {
            for outside in self.nodes.iter().filter(|n| !of.contains(n)) {
                act(&self.sim, inside.as_str(), outside.as_str());
            }
        }
    }

    /// Nothing leaves the node any more, not even the end of its connections.
    fn cut_power(&mut self, of: NodeId) {
        self.with_links(&[of], |sim, a, b| sim.partition(a, b));
        self.sim.crash(of.as_str());
        self.with_links(&[of], |sim, a, b| sim.repair(a, b));
        self.dark.insert(of);
    }

    fn restart(&mut self, of: NodeId) {
        self.sim.bounce(of.as_str());
        self.dark.remove(&of);
    }
}

fn host(sim: &mut turmoil::Sim<'static>, config: Config, random: Random, boards: &Boards) {
    let (disk, boards) = (SimulatedDisk::default(), Arc::clone(boards));
    let id = config.node.id;
    let random = random.child(id.as_str());
    sim.host(id.as_str(), move || {
        let (config, disk, boards) = (config.clone(), disk.clone(), Arc::clone(&boards));
        async move {
            let env = Env {
                net: Arc::new(SimNetwork::default()),
                clock: Arc::new(SimClock),
                random,
                disk: disk.mount(),
            };
            let node = Node::start(NodeParts { config, env, engine: None, tls: None }).await?;
            boards.lock().unwrap().insert(id, node.board());
            node.run().await?;
            Ok(())
        }
    });
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn twenty_five_nodes_find_each_other_and_notice_a_power_cut() {
    let mut cluster = Cluster::new(25, 1);
    let found = cluster.until(seconds(2), "all see all", Cluster::all_alive);
    cluster.play(seconds(1));
    let victim = node(7);
    cluster.cut_power(victim);
    let noticed = cluster.until(seconds(10), "n7 is down for all", |c| c.all_see(victim, Liveness::Down));
    cluster.restart(victim);
    let again = cluster.until(seconds(3), "n7 is alive for all", Cluster::all_alive);
    assert!(cluster.ever_down.iter().all(|(_, whom)| *whom == victim), "{:?}", cluster.ever_down);
    println!("25 nodes: found {found:?}, power cut known {noticed:?}, restart known {again:?}");
}

#[test]
fn a_node_that_was_held_or_cut_off_is_alive_for_all_soon_after() {
    let victim = node(3);
    let healthy = |cluster: &Cluster| {
        let wrong: Vec<_> =
            cluster.ever_down.iter().filter(|(by, whom)| *by != victim && *whom != victim).collect();
        assert!(wrong.is_empty(), "healthy nodes were taken for down: {wrong:?}");
    };
    for seed in 1..=3 {
        let mut cluster = Cluster::new(7, seed);
        cluster.until(seconds(2), "all see all", Cluster::all_alive);
        type Act = fn(&turmoil::Sim<'static>, &str, &str);
        let faults: [(&str, Act, Act); 4] = [
            ("hold", |s, a, b| s.hold(a, b), |s, a, b| s.release(a, b)),
            ("partition", |s, a, b| s.partition(a, b), |s, a, b| s.repair(a, b)),
            ("one-way out", |s, a, b| s.partition_oneway(a, b), |s, a, b| s.repair_oneway(a, b)),
            ("one-way in", |s, a, b| s.partition_oneway(b, a), |s, a, b| s.repair_oneway(b, a)),
        ];
        for (name, begin, end) in faults {
            cluster.with_links(&[victim], begin);
            cluster.until(seconds(12), &format!("down under {name}"), |c| c.all_see(victim, Liveness::Down));
            cluster.play(seconds(4));
            cluster.with_links(&[victim], end);
            cluster.until(seconds(6), &format!("alive after {name}"), Cluster::all_alive);
            cluster.play(seconds(8));
            assert!(cluster.all_alive(), "and stays so after {name}\n{}", cluster.describe());
            healthy(&cluster);
        }
    }
}

#[test]
fn a_short_pause_takes_nobody_down() {
    for seed in 1..=3 {
        let mut cluster = Cluster::new(5, seed);
        cluster.until(seconds(2), "all see all", Cluster::all_alive);
        for pause in 1..=3 {
            cluster.with_links(&[node(2)], |sim, a, b| sim.hold(a, b));
            cluster.play(seconds(pause));
            cluster.with_links(&[node(2)], |sim, a, b| sim.release(a, b));
            cluster.play(seconds(8));
        }
        assert_eq!(cluster.ever_down, BTreeSet::new());
        assert!(cluster.all_alive());
    }
}

#[test]
fn halves_that_were_cut_from_each_other_find_each_other_again() {
    let mut cluster = Cluster::new(6, 4);
    cluster.until(seconds(2), "all see all", Cluster::all_alive);
    let half = [node(1), node(2), node(3)];
    cluster.with_links(&half, |sim, a, b| sim.partition(a, b));
    cluster.until(seconds(15), "n6 is down for one half", |c| {
        half.iter().all(|by| c.sees(*by, node(6)) == Some(Liveness::Down))
    });
    cluster.play(seconds(5));
    cluster.with_links(&half, |sim, a, b| sim.repair(a, b));
    cluster.until(seconds(6), "all see all again", Cluster::all_alive);
}

#[test]
fn a_node_that_knows_only_seeds_of_which_some_are_down_finds_the_others() {
    let seeds = [node(1), node(2), node(3)];
    let mut cluster = Cluster::start(5, 5, |id| if id == node(5) { seeds.to_vec() } else { Vec::new() });
    cluster.play(Duration::from_millis(2));
    for seed in &seeds[..2] {
        cluster.cut_power(*seed);
    }
    cluster.until(seconds(5), "all that are up see all that are up", Cluster::all_alive);
    for dead in &seeds[..2] {
        cluster.until(seconds(10), "the dead seeds are known", |c| c.all_see(*dead, Liveness::Down));
    }
}
