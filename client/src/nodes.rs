//! The nodes that a client knows, and which of them answered lately.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::NodeUrl;
use crate::http2::SharedPool;
use crate::pool::Pool;

/// How long a node that did not answer is asked only when nobody else is left.
const DOWN: Duration = Duration::from_secs(1);

/// One node.
pub(crate) struct Node {
    pub(crate) url: NodeUrl,
    /// The URL as messages show it.
    pub(crate) name: String,
    /// The URL as connections and `Host` want it.
    pub(crate) authority: String,
    /// Its connections in HTTP/1.1.
    pub(crate) pool: Pool,
    /// Its connections in HTTP/2.
    pub(crate) shared: SharedPool,
    /// Spares a lock on every answer.
    failed: AtomicBool,
    down_until: Mutex<Option<Instant>>,
}

impl Node {
    fn new(url: NodeUrl) -> Self {
        Self {
            name: url.to_string(),
            authority: url.authority(),
            pool: Pool::default(),
            shared: SharedPool::default(),
            url,
            failed: AtomicBool::new(false),
            down_until: Mutex::default(),
        }
    }

    /// It answered.
    pub(crate) fn answered(&self) {
        if self.failed.load(Ordering::Acquire) {
            *self.down_until() = None;
            self.failed.store(false, Ordering::Release);
        }
    }

    /// It did not answer.
    pub(crate) fn failed(&self) {
        *self.down_until() = Some(Instant::now() + DOWN);
        self.failed.store(true, Ordering::Release);
    }

    /// Whether it is worth asking.
    pub(crate) fn seems_up(&self) -> bool {
        !self.failed.load(Ordering::Acquire) || self.down_until().is_none_or(|until| Instant::now() >= until)
    }

    fn down_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.down_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All nodes, in the order in which they came to be known; numbers never change their meaning.
pub(crate) struct Nodes {
    list: RwLock<Vec<Arc<Node>>>,
}

impl Nodes {
    pub(crate) fn new(urls: Vec<NodeUrl>) -> Self {
        Self { list: RwLock::new(urls.into_iter().map(|url| Arc::new(Node::new(url))).collect()) }
    }

    pub(crate) fn get(&self, node: usize) -> Option<Arc<Node>> {
        self.list.read().unwrap_or_else(PoisonError::into_inner).get(node).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.list.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The number of the node with this URL, which is added if it is new.
    pub(crate) fn number_of(&self, url: NodeUrl) -> usize {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        list.iter().position(|node| node.url == url).unwrap_or_else(|| {
            list.push(Arc::new(Node::new(url)));
            list.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn a_node_keeps_its_number() {
        let url = |text: &str| text.parse::<NodeUrl>().unwrap();
        let nodes = Nodes::new(vec![url("http://n1:1"), url("http://n2:2")]);
        assert_eq!(nodes.number_of(url("http://n2:2")), 1);
        assert_eq!(nodes.number_of(url("http://n3:3")), 2);
        assert_eq!((nodes.number_of(url("http://n1:1")), nodes.len()), (0, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn who_failed_is_tried_again_after_a_while() {
        let node = Node::new("http://n1:1".parse().unwrap());
        assert!(node.seems_up());
        node.failed();
        assert!(!node.seems_up());
        tokio::time::advance(DOWN).await;
        assert!(node.seems_up());
        node.failed();
        node.answered();
        assert!(node.seems_up());
    }
}
