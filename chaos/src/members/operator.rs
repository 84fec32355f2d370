//! The one who adds and removes members, through whichever member answers, until it is done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Client, Method, ReadOptions, Request};
use quorate_cluster::config::Member;
use quorate_env::Clock;

use super::desk::Asked;
use super::{Desk, ViewSeen, Wish};

/// Between two looks at what is to be done.
const LOOK: Duration = Duration::from_millis(100);

/// Fulfils wishes, one after the other.
pub struct Operator {
    /// How it asks for changes.
    pub client: Client,
    /// How it looks at views: one that does not wait long.
    pub glance: Client,
    /// Names of all nodes in the order in which both number them.
    pub nodes: Vec<String>,
    /// How nodes that join are described to the others.
    pub descriptions: BTreeMap<String, Member>,
    /// The wishes.
    pub desk: Desk,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
}

impl Operator {
    /// Works until the desk is closed.
    pub async fn run(self) {
        // Each attempt goes through the next member, so that one which is cut off is asked once a round.
        let mut turn = 0;
        while !self.desk.is_closed() {
            if let Some(asked) = self.desk.next() {
                self.attempt(&asked, turn).await;
                turn += 1;
            }
            if self.desk.is_moving() && self.everybody_is_settled().await {
                self.desk.settled(self.clock.monotonic_ns());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn attempt(&self, asked: &Asked, turn: usize) {
        if let Wish::Join(node) = &asked.wish
            && !self.is_ready(node).await
        {
            return self.desk.refused(format!("{node} is not ready"));
        }
        let mut members = self.desk.members();
        members.retain(|member| self.nodes[*member] != asked.wish.node());
        let Some(&through) = members.get(turn % members.len().max(1)) else { return };
        let Some(seen) = self.look_at(through).await else {
            return self.desk.refused(format!("{} does not answer", self.nodes[through]));
        };
        // An attempt that seemed to fail may have been successful, or still become so.
        if self.is_fulfilled(&asked.wish, &seen) {
            let since_ns = asked.since_ns.unwrap_or_else(|| self.clock.monotonic_ns());
            return self.desk.accepted(seen.era(since_ns));
        }
        if !seen.is_stable() {
            self.report_the_dead(through).await;
            return self.desk.refused(format!("{} is still in view {}", self.nodes[through], seen.view));
        }
        let now_ns = self.clock.monotonic_ns();
        self.desk.asking(now_ns);
        if let Err(why) = self.ask(&asked.wish, through).await {
            self.desk.refused(format!("{}: {why}", self.nodes[through]));
        }
        if let Some(seen) = self.look_at(through).await
            && self.is_fulfilled(&asked.wish, &seen)
        {
            self.desk.accepted(seen.era(asked.since_ns.unwrap_or(now_ns)));
        }
    }

    /// Says who is dead of those that are to be removed, so that the change under way does not wait
    /// for them; they are removed in their turn.
    async fn report_the_dead(&self, through: usize) {
        for wish in self.desk.wishes() {
            if matches!(wish, Wish::Remove(_)) && wish.node() != self.nodes[through] {
                // Refused while a change is under way; that the node is lost is noted all the same.
                let _ = self.ask(&wish, through).await;
            }
        }
    }

    async fn ask(&self, wish: &Wish, through: usize) -> Result<(), String> {
        let (method, target, body) = match wish {
            Wish::Join(node) => {
                let member = self.descriptions.get(node).ok_or_else(|| format!("who is {node}?"))?;
                let body = serde_json::to_vec(member).map_err(|e| e.to_string())?;
                (Method::Post, "/cluster/members".to_owned(), body)
            }
            Wish::Leave(node) => (Method::Delete, format!("/cluster/members/{node}"), Vec::new()),
            Wish::Remove(node) => (Method::Delete, format!("/cluster/members/{node}?dead=1"), Vec::new()),
        };
        let headers = [("Content-Type", "application/json")];
        let request = Request { method, target: &target, headers: &headers, body: &body };
        let (_, response) =
            self.client.request_any(&request, Some(through)).await.map_err(|e| e.to_string())?;
        match response.status {
            202 => Ok(()),
            status => Err(format!("status {status}: {}", String::from_utf8_lossy(&response.body))),
        }
    }

    fn is_fulfilled(&self, wish: &Wish, seen: &ViewSeen) -> bool {
        seen.has(wish.node()) == matches!(wish, Wish::Join(_))
    }

    async fn everybody_is_settled(&self) -> bool {
        let eras = self.desk.eras();
        for member in self.desk.members() {
            let Some(seen) = self.look_at(member).await else { return false };
            // Every change is one epoch, and there were no others.
            if !seen.is_stable() || seen.epoch() != u64::try_from(eras.len()).ok() {
                return false;
            }
        }
        true
    }

    async fn look_at(&self, node: usize) -> Option<ViewSeen> {
        let told = self.glance.cluster(ReadOptions { node: Some(node) }).await.ok()?;
        serde_json::from_value(told).ok()
    }

    async fn is_ready(&self, node: &str) -> bool {
        let Some(number) = self.nodes.iter().position(|n| n == node) else { return false };
        matches!(self.glance.is_ready(ReadOptions { node: Some(number) }).await, Ok(true))
    }
}
