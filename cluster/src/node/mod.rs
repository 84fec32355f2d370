//! One node: opens its store, starts what serves and what repairs, and stops it all.

mod identity;
#[cfg(test)]
mod tests;

use std::io;
use std::ops::Not;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use quorate_env::{Disk, Env, Listener};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::admission::{Admission, Background};
use crate::api::{Api, Guard};
use crate::config::{
    AntiEntropy as Period, Config, Durability, EngineKind, NodeId, StoreDefinition, TombstoneCollection,
};
use crate::coordinator::{Coordinator, Mint, Registers, StampSource, Tokens};
use crate::membership::gossip::{
    Board, Datagram, GossipId, Gossiper, HEARD_MAX, Incarnation, pull_newer_views,
};
use crate::membership::{Administrator, Found, Gap, Steward, View, Views, Witnesses};
use crate::metrics::Metrics;
use crate::replica::{Replica, ReplicaService};
use crate::rpc::{Hello, PeerServer, Peers, Versions};
use crate::store::{Closing, Engine, LogOptions, StoreError};
use crate::tls::{Certificates, PeerNetwork};
use crate::transfer::{AntiEntropy, Collection, Evacuation, HintDelivery, Refill, Scrubber};
use crate::version::{HybridClock, SharedClock};

pub use identity::{Identity, IdentityError, Start};

/// Opens every conversation between peers.
pub const MAGIC: &[u8; 8] = b"quorate\x01";

/// The largest frame that peers exchange beyond the values in it.
const FRAME_OVERHEAD_BYTES: u64 = 4 << 20;

/// What a node is made of.
pub struct NodeParts {
    /// Who it is and what its store promises.
    pub config: Config,
    /// Its outside world. Its disk is the data directory.
    pub env: Env,
    /// Instead of the engine that the definition names, opened on the disk.
    pub engine: Option<Arc<dyn Engine>>,
    /// What clients and peers are shown; plain HTTP, and peers in the clear, without.
    pub tls: Option<Arc<Certificates>>,
}

/// Why a node did not start. Nothing was served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory is not this node's and store's.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The engine cannot be opened.
    #[error("the store cannot be opened: {0}")]
    Store(#[from] StoreError),
    /// The view on disk cannot be read or written.
    #[error("the view in the data directory: {0}")]
    View(#[source] io::Error),
    /// No seed told who the members are.
    #[error("no seed answered ({why}): start one of them, or correct `seeds`")]
    Seeds {
        /// What the last one said.
        why: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({what}): {source}; is another process using the port?")]
    Listen {
        /// The address.
        address: String,
        /// `listen` or `peer_listen`.
        what: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file with a key or token cannot be read.
    #[error("{what} {path}: {why}")]
    Secret {
        /// `token_key_file` or `admin_token_file`.
        what: &'static str,
        /// The file.
        path: String,
        /// What is wrong and what to do.
        why: String,
    },
}

/// A node that listens but does not serve until it is [`run`](Node::run).
pub struct Node {
    env: Env,
    config: Config,
    api: Arc<Api>,
    api_listener: Box<dyn Listener>,
    peer_listener: Box<dyn Listener>,
    peer_server: Arc<PeerServer<ReplicaService>>,
    gossip: (GossipId, mpsc::Receiver<(NodeId, Datagram)>),
    engine: Arc<Closing>,
    api_address: String,
    peer_address: String,
    handle: NodeHandle,
}

/// Stops a node from outside.
#[derive(Clone)]
pub struct NodeHandle {
    stop: Arc<watch::Sender<bool>>,
}

impl NodeHandle {
    /// Stops the node: no new connections, requests in hand finish, the store is flushed.
    pub fn shut_down(&self) {
        self.stop.send_replace(true);
    }
}

impl Node {
    /// Opens the store, takes a fresh incarnation and binds both addresses.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(parts: NodeParts) -> Result<Self, StartError> {
        let NodeParts { config, env, engine, tls } = parts;
        let me = config.node.id;
        let start = Identity::begin(&*env.disk, me, &config.store, env.random).await?;
        let life = GossipId { node: me, incarnation: Incarnation::of_start(start.identity.start_number) };
        let engine = match engine {
            Some(engine) => engine,
            None => {
                // A simulated node has no directory, but a disk.
                let directory =
                    Some(Path::new(&config.node.data_dir)).filter(|path| **path != *Path::new(""));
                let options = LogOptions { commits_max: config.limits.commits_max, ..LogOptions::default() };
                let disk = Arc::clone(&env.disk);
                let StoreDefinition { engine, compression, .. } = config.store;
                crate::store::open_with(engine, compression, disk, directory, options).await?
            }
        };
        let engine = Arc::new(Closing::new(engine));
        let secret = token_secret(&config)?;
        let asks_certificates = tls.as_ref().is_some_and(|tls| tls.are_asked_of_clients());
        let guard = Guard::new(&config.node, asks_certificates)
            .map_err(|(path, why)| StartError::Secret { what: "admin_token_file", path, why })?;
        // What peers say to each other goes through this one.
        let among_peers = Env { net: PeerNetwork::over(Arc::clone(&env.net), tls.as_ref()), ..env.clone() };
        if tls.is_some() && config.members.len() > 1 && Arc::ptr_eq(&among_peers.net, &env.net) {
            tracing::warn!(node = %me, "peers talk in the clear, and to whoever connects: set cert, key and ca under [tls]");
        }
        let listen = |what, env: &Env, address: &str| {
            let (env, address) = (env.clone(), address.to_owned());
            async move {
                env.net.bind(&address).await.map_err(|source| StartError::Listen { address, what, source })
            }
        };
        let api_listener = listen("listen", &env, &config.node.listen).await?;
        let peer_listener = listen("peer_listen", &among_peers, &config.node.peer_listen).await?;
        let address_of = |listener: &dyn Listener, given: &str| {
            listener.local_address().unwrap_or_else(|_| given.to_owned())
        };
        let api_address = address_of(&*api_listener, &config.node.listen);
        let peer_address = address_of(&*peer_listener, &config.node.peer_listen);

        let versions = Versions::up_to(config.node.protocol_max);
        let hello = Hello::new(me, versions, &config.store);
        let found = found(&config, &start, &*engine);
        if found == Found::Doubtful {
            tracing::warn!(node = %me, "writes may be missing here after the last stop; absent records cast no vote until all other owners were merged");
        }
        // Drawn anew by every start, so it names the disk that it finds empty.
        let new_disk = start.identity.incarnation;
        let views = Arc::new(open_views(&config, &among_peers, &hello, found, new_disk).await?);
        let stamps =
            SharedClock::new(HybridClock::new(start.identity.incarnation, start.identity.clock_bound_ns));
        let holdings = Arc::clone(views.holdings());
        let clock = Arc::clone(&env.clock);
        let records: Arc<dyn Engine> = Arc::<Closing>::clone(&engine);
        drop_what_may_be_deleted(&views, &*records, &config.store).await?;
        let kept = Arc::clone(&records);
        views.ask_whether_anything_is_kept(move || kept.stats().records > 0);
        let replica = Replica::new(records, clock, &config.store, holdings, stamps.clone())?;
        // An engine in memory would only be there twice.
        let is_in_memory = config.store.engine == EngineKind::Memory;
        let cache_bytes = if is_in_memory { 0 } else { config.limits.cache_bytes };
        let replica = Arc::new(replica.with_cache(cache_bytes));
        let metrics = Arc::new(Metrics::default());
        let frame_bytes_max = frame_bytes_max(&config);
        let peers = Arc::new(Peers::new(
            &among_peers,
            Arc::clone(&views),
            me,
            &hello,
            config.timing,
            frame_bytes_max,
        ));
        let administrator =
            Arc::new(Administrator::new(&env, me, Arc::clone(&views), Arc::clone(&peers), config.timing));
        let local = Arc::new(ReplicaService {
            me,
            views: Arc::clone(&views),
            replica: Arc::clone(&replica),
            background: Arc::new(Background::new(Arc::clone(&env.clock))),
            tombstones_collected: Arc::clone(&metrics.tombstones_collected),
        });
        let (heard, hearing) = mpsc::channel(HEARD_MAX);
        let peer_server = Arc::new(PeerServer {
            service: Arc::clone(&local),
            env: env.clone(),
            me,
            store: config.store.clone(),
            versions,
            views: Arc::clone(&views),
            frame_bytes_max,
            timing: config.timing,
            limits: config.limits,
            metrics: Arc::clone(&metrics),
            gossip: heard,
        });
        let coordinator = Arc::new(Coordinator {
            me,
            store: config.store.clone(),
            timing: config.timing,
            views,
            local,
            peers,
            env: env.clone(),
            mint: Mutex::new(Mint::new(me, start.identity.incarnation)),
            registers: Registers::new(start.identity.incarnation, env.random.stream("registers")),
            stamps: StampSource::new(Arc::clone(&env.clock), Arc::clone(&env.disk), start.identity, stamps),
            metrics,
            admission: Arc::new(Admission::new(config.limits)),
        });
        let board = Arc::<Board>::default();
        let tokens = Tokens::new(&secret, config.store.digest());
        let api = Arc::new(Api {
            coordinator,
            administrator,
            board,
            tokens,
            build: OnceLock::new(),
            guard,
            engine: Arc::clone(&engine),
            certificates: tls,
        });
        let handle = NodeHandle { stop: Arc::new(watch::channel(false).0) };
        Ok(Self {
            env,
            config,
            api,
            api_listener,
            peer_listener,
            peer_server,
            gossip: (life, hearing),
            engine,
            api_address,
            peer_address,
            handle,
        })
    }

    /// Lets `GET /cluster` say what program this is, such as `0.1.0 (50c10ad)`: a benchmark's figures are of one.
    #[must_use]
    pub fn with_build(self, build: &str) -> Self {
        // Only the first is kept, and nobody else has a node that is not running.
        let _ = self.api.build.set(build.to_owned());
        self
    }

    /// `host:port` of the API, with the real port.
    #[must_use]
    pub fn api_address(&self) -> &str {
        &self.api_address
    }

    /// `host:port` for peers, with the real port.
    #[must_use]
    pub fn peer_address(&self) -> &str {
        &self.peer_address
    }

    /// What this node thinks of the other members, kept up while it runs.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.api.board)
    }

    /// Stops the node from outside.
    #[must_use]
    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// Serves until shut down, then flushes.
    ///
    /// # Errors
    /// When the store cannot be flushed at the end.
    pub async fn run(self) -> io::Result<()> {
        let coordinator = Arc::clone(&self.api.coordinator);
        let (me, store, timing) = (self.config.node.id, &self.config.store, self.config.timing);
        let replica = Arc::clone(&coordinator.local.replica);
        let engine = Arc::clone(replica.engine());
        let background = Arc::clone(&coordinator.local.background);
        let mut tasks = JoinSet::new();
        tasks.spawn(self.peer_server.run(self.peer_listener));
        let (life, heard) = self.gossip;
        let (newer_views, holders) = mpsc::channel(1);
        let gossiper = Gossiper {
            me: life,
            views: Arc::clone(&coordinator.views),
            peers: Arc::clone(&coordinator.peers),
            heard,
            board: Arc::clone(&self.api.board),
            newer_views,
            random: self.env.random.child("gossip"),
            metrics: Arc::clone(&coordinator.metrics),
        };
        tasks.spawn(gossiper.run());
        let (views, peers) = (Arc::clone(&coordinator.views), Arc::clone(&coordinator.peers));
        tasks.spawn(pull_newer_views(views, peers, holders, timing.stall()));
        if store.hinted_handoff {
            let delivery = HintDelivery {
                replica: Arc::clone(&replica),
                peers: Arc::clone(&coordinator.peers),
                views: Arc::clone(&coordinator.views),
                me,
                timing,
                background: Arc::clone(&background),
                metrics: Arc::clone(&coordinator.metrics),
            };
            tasks.spawn(delivery.run());
        }
        let scrubber = Scrubber {
            me,
            views: Arc::clone(&coordinator.views),
            replica: Arc::clone(&replica),
            random: self.env.random.stream("scrubber"),
            period: timing.scrub,
            keep_trees: store.anti_entropy != Period::Off,
            background: Arc::clone(&background),
            metrics: Arc::clone(&coordinator.metrics),
        };
        tasks.spawn(scrubber.run());
        if let Period::Every(period) = store.anti_entropy {
            let anti_entropy = AntiEntropy {
                me,
                views: Arc::clone(&coordinator.views),
                replica: Arc::clone(&replica),
                peers: Arc::clone(&coordinator.peers),
                clock: Arc::clone(&self.env.clock),
                random: self.env.random.stream("anti-entropy"),
                period,
                timing,
                background: Arc::clone(&background),
                metrics: Arc::clone(&coordinator.metrics),
            };
            tasks.spawn(anti_entropy.run());
        }
        if let TombstoneCollection::Every(period) = store.tombstone_collection {
            let collection = Collection {
                me,
                views: Arc::clone(&coordinator.views),
                local: Arc::clone(&coordinator.local),
                peers: Arc::clone(&coordinator.peers),
                random: self.env.random.stream("collection"),
                env: self.env.clone(),
                period,
                timing,
                background: Arc::clone(&background),
                metrics: Arc::clone(&coordinator.metrics),
            };
            tasks.spawn(collection.run());
        }
        if let Durability::Interval(every) = store.durability {
            tasks.spawn(sync_every(every, Arc::clone(&engine)));
        }
        tasks.spawn(compact(Arc::clone(&engine), Arc::clone(&background)));
        let (views, peers) = (Arc::clone(&coordinator.views), Arc::clone(&coordinator.peers));
        let steward = Steward {
            views: Arc::clone(&views),
            peers: Arc::clone(&peers),
            read_quorum: store.r(),
            timing,
            random: self.env.random.stream("steward"),
        };
        tasks.spawn(steward.run());
        let (of, others) = (Arc::clone(&views), Arc::clone(&peers));
        tasks.spawn(Witnesses { me, views: of, peers: others, timing }.run());
        let refill = Refill {
            me,
            views: Arc::clone(&views),
            replica: Arc::clone(&replica),
            peers: Arc::clone(&peers),
            administrator: Arc::clone(&self.api.administrator),
            write_quorum: store.w(),
            compares: store.anti_entropy != Period::Off,
            timing,
            background: Arc::clone(&background),
            metrics: Arc::clone(&coordinator.metrics),
        };
        tasks.spawn(refill.run());
        if store.is_linearizable() {
            tasks.spawn(settle(Arc::clone(&coordinator), timing.probe));
        }
        let evacuation = Evacuation {
            me,
            views,
            replica: Arc::clone(&replica),
            peers,
            timing,
            background: Arc::clone(&background),
            metrics: Arc::clone(&coordinator.metrics),
        };
        tasks.spawn(evacuation.run());
        let stopping = self.handle.stop.subscribe();
        tasks.spawn(try_disk(Arc::clone(&self.engine), Arc::clone(&self.env.disk)));
        if let Some(certificates) = &self.api.certificates {
            tasks.spawn(Arc::clone(certificates).watch());
        }
        self.api.run(self.api_listener, stopping).await;
        tasks.shutdown().await;
        // Requests of peers and clients may still be under way, but acknowledge nothing from here on.
        self.engine.close().await.map_err(io::Error::other)?;
        Identity::mark_clean_stop(&*self.env.disk).await?;
        tracing::info!(node = %me, "stopped");
        Ok(())
    }
}

/// Drops all that is kept here if some of it may have been deleted with nothing left to say so: the
/// disk was away while deletes were forgotten, or the log cannot be read everywhere and may show an
/// older record in the place of a deletion. The other owners have it.
async fn drop_what_may_be_deleted(
    views: &Views,
    records: &dyn Engine,
    store: &StoreDefinition,
) -> Result<(), StartError> {
    let is_in_doubt = store.collects_tombstones() && records.stats().unreadable_regions > 0;
    if !views.is_obsolete() && !is_in_doubt {
        return Ok(());
    }
    tracing::warn!("what is kept here may have been deleted: it is dropped, and taken from the other owners");
    // Noted first: what is half dropped must not vote.
    let partitions = views.current().placement().partitions();
    views.holdings().mark(0..partitions, Gap::LostDisk).await.map_err(StartError::View)?;
    crate::store::clear(records).await?;
    views.dropped_all().await.map_err(StartError::View)
}

/// How long a node that has only seeds tries to reach one.
const SEEDS_WAIT: Duration = Duration::from_secs(30);

/// The newest view on disk; else the members that the configuration lists; else what a seed says.
async fn open_views(
    config: &Config,
    env: &Env,
    hello: &Hello,
    found: Found,
    new_disk: u64,
) -> Result<Views, StartError> {
    let me = config.node.id;
    let first = config.seeds_only().not().then(|| View::of_store(config.members.clone(), &config.store));
    let views = Views::open(me, Arc::clone(&env.disk), first, found, new_disk).await;
    if let Some(views) = views.map_err(StartError::View)? {
        return Ok(views);
    }
    let frame_bytes_max = frame_bytes_max(config);
    let started = tokio::time::Instant::now();
    let mut why = "none is given".to_owned();
    while started.elapsed() < SEEDS_WAIT {
        for seed in &config.node.seeds {
            match Peers::fetch_view_from(env, seed, hello, config.timing, frame_bytes_max).await {
                Ok(view) => {
                    let views = Views::open(me, Arc::clone(&env.disk), Some(view), found, new_disk).await;
                    return views
                        .map_err(StartError::View)?
                        .ok_or_else(|| StartError::Seeds { why: why.clone() });
                }
                Err(error) => why = format!("{seed}: {error}"),
            }
        }
        sleep(config.timing.probe).await;
    }
    Err(StartError::Seeds { why })
}

/// Whether an absent record means that none was acknowledged here: not on a disk that was lost, nor
/// after a stop that may have cost the tail, nor with a log that cannot be read everywhere.
fn found(config: &Config, start: &Start, engine: &dyn Engine) -> Found {
    let keeps_its_tail = config.store.durability == Durability::Commit || start.clean || start.first;
    let in_memory_again = config.store.durability == Durability::Memory && !start.first;
    if !keeps_its_tail || in_memory_again || engine.stats().unreadable_regions > 0 {
        Found::Doubtful
    } else if !start.first {
        Found::AsLeft
    } else if config.seeds_only() {
        Found::EmptyAmongOthers
    } else {
        Found::Empty
    }
}

fn frame_bytes_max(config: &Config) -> usize {
    // One value for every sibling that may be there and some that arrive at the same time.
    let siblings = u64::from(config.store.sibling_limit) + 64;
    let bytes = siblings * (config.store.value_bytes_max + 4096) + FRAME_OVERHEAD_BYTES;
    usize::try_from(bytes.min(u64::from(u32::MAX / 2))).unwrap_or(usize::MAX)
}

fn token_secret(config: &Config) -> Result<Vec<u8>, StartError> {
    let Some(path) = &config.node.token_key_file else { return Ok(config.store.digest().to_vec()) };
    let refuse = |why: String| StartError::Secret { what: "token_key_file", path: path.clone(), why };
    let secret = std::fs::read(path).map_err(|e| refuse(e.to_string()))?;
    if secret.len() < 16 {
        return Err(refuse("a key has at least 16 random bytes".into()));
    }
    Ok(secret)
}

/// Registers that are settled in one go.
const SETTLED_AT_ONCE: usize = 16;

/// Brings owners together that comparing copies does not: one of them has promised to accept nothing
/// so low.
async fn settle(coordinator: Arc<Coordinator>, period: std::time::Duration) {
    loop {
        sleep(period).await;
        let unsettled = coordinator.local.replica.take_unsettled(SETTLED_AT_ONCE);
        futures_util::future::join_all(unsettled.into_iter().map(|key| coordinator.settle(key))).await;
    }
}

async fn sync_every(every: std::time::Duration, engine: Arc<dyn Engine>) {
    loop {
        sleep(every).await;
        if let Err(error) = engine.flush().await {
            tracing::error!(%error, "the store cannot be synced");
        }
    }
}

/// While the disk takes no writes, tries now and then whether it does again: nobody else may, because
/// a node that is not ready is given nothing to write.
async fn try_disk(engine: Arc<Closing>, disk: Arc<dyn Disk>) {
    const PROBE_FILE: &str = "probe";
    let probe = vec![0; 64 << 10];
    loop {
        sleep(Duration::from_secs(1)).await;
        if engine.refusal().is_some() && disk.write_atomic(PROBE_FILE, &probe).await.is_ok() {
            // It is overwritten by the next one if it cannot be removed.
            let _ = disk.remove(PROBE_FILE);
            engine.disk_works();
        }
    }
}

/// Reclaims space, a bounded step at a time, yielding to requests in between.
async fn compact(engine: Arc<dyn Engine>, background: Arc<Background>) {
    loop {
        match engine.compact_step(&*background).await {
            Ok(true) => tokio::task::yield_now().await,
            Ok(false) => sleep(std::time::Duration::from_secs(1)).await,
            Err(error) => {
                tracing::warn!(%error, "space cannot be reclaimed");
                sleep(std::time::Duration::from_secs(5)).await;
            }
        }
    }
}
