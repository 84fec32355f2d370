//! What code gets from outside: network, clock, randomness, disk and pace.
//!
//! Everything that would make two runs of one seed differ comes through an [`Env`], so the
//! same node and client code runs on a real machine and in a deterministic simulation. The
//! real versions live here; the simulated network lives with the simulator.
//!
//! Timers are not here: both worlds drive `tokio::time`, which the simulator pauses and
//! advances itself.
//!
//! Not here: anything that knows what a key, a replica or a message is.

pub mod clock;
pub mod disk;
pub mod marks;
pub mod net;
pub mod pacer;
pub mod random;
pub mod watch;
pub mod words;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use clock::{Clock, SystemClock};
pub use disk::{Disk, DiskCounters, DiskFile, SimulatedDisk, SystemDisk};
pub use net::{BoxStream, Leg, Listener, Network, TokioNetwork};
pub use pacer::{Pacer, RealPacer, TimerPacer};
pub use random::{Random, RandomStream};
pub use watch::RandomWatch;

/// A boxed future: the price of keeping these traits object-safe is one allocation per call,
/// paid per connection, per sync and per file operation, never per byte.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One process's whole outside world. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// Connections to and from others.
    pub net: Arc<dyn Network>,
    /// Wall and monotonic time.
    pub clock: Arc<dyn Clock>,
    /// Root of the named random streams.
    pub random: Random,
    /// The data directory.
    pub disk: Arc<dyn Disk>,
}
