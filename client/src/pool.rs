//! The idle connections to one node.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::http::Connection;

/// Kept-alive connections of one node, the most recently used first: the others age out.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// A connection that the other side has not closed, if there is one. `now` may be a little old.
    pub(crate) async fn take(&self, age_max: Duration, now: Instant) -> Option<Connection> {
        loop {
            let idle = self.lock().pop()?;
            let mut connection = idle.connection;
            if now.saturating_duration_since(idle.since) <= age_max && connection.is_quiet().await {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for later, if it can be used again and there is room. It counts as idle since
    /// `since`.
    pub(crate) fn give_back(&self, connection: Connection, idle_max: usize, since: Instant) {
        if connection.is_reusable() {
            let mut idle = self.lock();
            if idle.len() < idle_max {
                idle.push(Idle { connection, since });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        // A panic elsewhere leaves a list of connections, all still good.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
