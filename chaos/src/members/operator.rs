//! The one who adds and removes members, through whichever member answers, until it is done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Client, Method, ReadOptions, Request};
use quorate_cluster::config::Member;
use quorate_env::Clock;

use super::{Desk, ViewSeen, Wish};

/// Between two looks at what is to be done.
const LOOK: Duration = Duration::from_millis(100);

/// Fulfils wishes, one after the other. Those that two faults have at the same instant are asked for at
/// once, by two of them: [`Operator::run`] and [`Operator::run_as_rival`].
#[derive(Clone)]
pub struct Operator {
    /// How it asks for changes.
    pub client: Client,
    /// How it looks at views: one that does not wait long.
    pub glance: Client,
    /// Names of all nodes in the order in which both number them.
    pub nodes: Vec<String>,
    /// How nodes that join are described to the others.
    pub descriptions: BTreeMap<String, Member>,
    /// What it shows as an administrator, if nodes ask for it.
    pub authorization: Option<String>,
    /// The wishes.
    pub desk: Desk,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
}

impl Operator {
    /// Works until the desk is closed.
    pub async fn run(self) {
        while !self.desk.is_closed() {
            if let Some(asked) = self.desk.next() {
                // Each attempt goes through the next member: one that is cut off is asked now and then.
                self.attempt(&asked.wish, self.desk.turn()).await;
                self.desk.turn_over();
            }
            if self.desk.is_moving()
                && let Some(views) = self.settled_view().await
            {
                self.desk.settled(views, self.clock.monotonic_ns());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Works until the desk is closed: asks for what somebody else wishes at the same instant, through
    /// a member on the other side of the list.
    pub async fn run_as_rival(self) {
        while !self.desk.is_closed() {
            if let Some(asked) = self.desk.rival() {
                self.attempt(&asked.wish, self.desk.turn() + self.desk.members().len() / 2).await;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn attempt(&self, wish: &Wish, turn: usize) {
        let Some(through) = self.someone_but(wish.node(), turn) else { return };
        let name = &self.nodes[through];
        let Some(seen) = self.look_at(through).await else {
            return self.desk.refused(wish, format!("{name} does not answer"));
        };
        // An attempt that seemed to fail may have been successful, or still become so.
        if self.accept_what_is_fulfilled(&seen) {
            return;
        }
        if !seen.is_stable() {
            self.report_a_dead_node(through, turn).await;
            return self.desk.refused(wish, format!("{name} is still in view {}", seen.view));
        }
        // A member that has not heard of the last change would take this one for another.
        if seen.epoch() != u64::try_from(self.desk.eras().len()).ok() {
            return self.desk.refused(wish, format!("{name} is only in view {}", seen.view));
        }
        if let Wish::Join(node) = wish
            && !self.is_ready(node).await
        {
            return self.desk.refused(wish, format!("{node} is not ready"));
        }
        if let Err(why) = self.ask(wish, through).await {
            self.desk.refused(wish, format!("{name}: {why}"));
        }
        if let Some(seen) = self.look_at(through).await {
            self.accept_what_is_fulfilled(&seen);
        }
    }

    /// Says of one of those that are to be removed that it is dead, so that the change under way does
    /// not wait for it; it is removed in its turn. The removal itself is refused while a change is under
    /// way, but taken if that ended just before; then it shows at a later look.
    async fn report_a_dead_node(&self, through: usize, turn: usize) {
        let wishes = self.desk.asked().into_iter().map(|asked| asked.wish);
        let is_another = |wish: &Wish| matches!(wish, Wish::Remove(node) if *node != self.nodes[through]);
        let removals: Vec<Wish> = wishes.filter(is_another).collect();
        if let Some(removal) = removals.get(turn % removals.len().max(1)) {
            let _ = self.ask(removal, through).await;
        }
    }

    /// Another member than `node` to ask, a different one each turn.
    fn someone_but(&self, node: &str, turn: usize) -> Option<usize> {
        let mut members = self.desk.members();
        members.retain(|member| self.nodes[*member] != node);
        members.get(turn % members.len().max(1)).copied()
    }

    /// Whether `seen` is the view that fulfils one of the wishes that the cluster was asked for; then
    /// the desk learns of it. Every change makes the next view, and nobody else asks for changes.
    fn accept_what_is_fulfilled(&self, seen: &ViewSeen) -> bool {
        let eras = self.desk.eras();
        let Some(last) = eras.last() else { return false };
        let is_fulfilled =
            |wish: &Wish| seen.follows(last, eras.len(), wish.node(), matches!(wish, Wish::Join(_)));
        let asked =
            self.desk.asked().into_iter().find(|asked| asked.since_ns.is_some() && is_fulfilled(&asked.wish));
        let Some((wish, since_ns)) = asked.and_then(|asked| Some((asked.wish, asked.since_ns?))) else {
            return false;
        };
        self.desk.accepted(&wish, seen.era(since_ns));
        true
    }

    async fn ask(&self, wish: &Wish, through: usize) -> Result<(), String> {
        // Before it is sent: from then on some node may act by it.
        self.desk.asking(wish, self.clock.monotonic_ns());
        let (method, target, body) = match wish {
            Wish::Join(node) => {
                let member = self.descriptions.get(node).ok_or_else(|| format!("who is {node}?"))?;
                let body = serde_json::to_vec(member).map_err(|e| e.to_string())?;
                (Method::Post, "/cluster/members".to_owned(), body)
            }
            Wish::Leave(node) => (Method::Delete, format!("/cluster/members/{node}"), Vec::new()),
            Wish::Remove(node) => (Method::Delete, format!("/cluster/members/{node}?dead=1"), Vec::new()),
        };
        let mut headers = vec![("Content-Type", "application/json")];
        headers.extend(self.authorization.as_deref().map(|shown| ("Authorization", shown)));
        let request = Request { method, target: &target, headers: &headers, body: &body };
        let (_, response) =
            self.client.request_any(&request, Some(through)).await.map_err(|e| e.to_string())?;
        match response.status {
            202 => Ok(()),
            status => Err(format!("status {status}: {}", String::from_utf8_lossy(&response.body))),
        }
    }

    /// The number of the newest view, if every member is in it and nothing moves.
    async fn settled_view(&self) -> Option<usize> {
        let eras = self.desk.eras();
        let last = eras.last()?;
        for member in self.desk.members() {
            let seen = self.look_at(member).await?;
            // Every change is one epoch, and there were no others.
            if !seen.is_stable() || seen.epoch() != u64::try_from(eras.len()).ok() || !seen.is_of(last) {
                return None;
            }
        }
        Some(eras.len())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use quorate_client::{ClientOptions, NodeUrl};
    use quorate_env::TokioNetwork;
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::fault::Span;
    use crate::members::Era;

    /// A clock that goes on by one with every look.
    #[derive(Default)]
    struct Ticks(AtomicU64);

    impl Clock for Ticks {
        fn wall_ns(&self) -> u64 {
            self.monotonic_ns()
        }

        fn monotonic_ns(&self) -> u64 {
            self.0.fetch_add(1, Ordering::Relaxed)
        }
    }

    /// What the one node there is says of its view, and what it was asked for, each with when.
    struct Node {
        view: (&'static str, &'static [&'static str]),
        /// The view that a removal makes, though the node answers that a change is under way.
        after_removal: Option<(&'static str, &'static [&'static str])>,
        asked: Vec<(u64, String)>,
    }

    fn body((view, members): (&str, &[&str])) -> String {
        let members: Vec<_> = members.iter().map(|id| json!({ "id": id })).collect();
        let placement = json!({ "partitions": 1, "replicas": 1, "nodes": members, "owners": "AAA=" });
        json!({ "view": view, "members": members, "placement": placement }).to_string()
    }

    async fn serve(listener: TcpListener, node: Arc<Mutex<Node>>, clock: Arc<Ticks>) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                let mut bytes = [0; 1024];
                let count = stream.read(&mut bytes).await.unwrap();
                request.extend_from_slice(&bytes[..count]);
            }
            let line = String::from_utf8_lossy(&request).lines().next().unwrap().to_owned();
            let (status, body) = {
                let mut node = node.lock().unwrap();
                if line.starts_with("GET") {
                    ("200 OK", body(node.view))
                } else {
                    node.asked.push((clock.monotonic_ns(), line));
                    if let Some(view) = node.after_removal.take() {
                        node.view = view;
                    }
                    ("409 Conflict", "{}".to_owned())
                }
            };
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    }

    /// An operator in front of `n1`, and its desk, where `n1`, `n2` and `n3` are members in the first view.
    async fn operator(node: &Arc<Mutex<Node>>) -> (Operator, Desk, Arc<Ticks>) {
        let clock = Arc::new(Ticks::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: NodeUrl = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(serve(listener, Arc::clone(node), Arc::clone(&clock)));
        let client = || {
            Client::new(Arc::new(TokioNetwork), vec![url.clone()], None, ClientOptions::default()).unwrap()
        };
        let nodes: Vec<String> = ["n1", "n2", "n3"].map(str::to_owned).to_vec();
        let first =
            Era { span: Span { from_ns: 0, until_ns: u64::MAX }, members: nodes.clone(), owners: Vec::new() };
        let desk = Desk::new(nodes.clone(), first);
        let operator = Operator {
            client: client(),
            glance: client(),
            nodes,
            descriptions: BTreeMap::new(),
            authorization: None,
            desk: desk.clone(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
        };
        (operator, desk, clock)
    }

    #[tokio::test]
    async fn a_member_that_has_not_heard_of_the_last_change_does_not_show_that_the_next_is_done() {
        let view = ("1-stable", &["n1", "n2", "n3"][..]);
        let node = Arc::new(Mutex::new(Node { view, after_removal: None, asked: Vec::new() }));
        let (operator, desk, _) = operator(&node).await;
        // n4 has joined, as somebody else could tell, and goes again.
        let joins = Wish::Join("n4".into());
        desk.ask(0, 0, joins.clone());
        let era =
            Era { members: ["n1", "n2", "n3", "n4"].map(str::to_owned).to_vec(), ..desk.eras()[0].clone() };
        desk.accepted(&joins, era);
        let leaves = Wish::Leave("n4".into());
        desk.ask(1, 1, leaves.clone());
        desk.asking(&leaves, 1);
        operator.attempt(&leaves, 0).await;
        assert_eq!(desk.eras().len(), 2, "the old view is without n4 too");
        assert_eq!(node.lock().unwrap().asked, [], "and whoever is in it is not asked for the next");
        node.lock().unwrap().view = ("3-stable", &["n1", "n2", "n3"]);
        operator.attempt(&leaves, 0).await;
        assert_eq!(desk.eras().len(), 3);
    }

    #[tokio::test]
    async fn an_era_begins_before_a_removal_is_sent_even_if_that_should_only_be_noted() {
        let node = Arc::new(Mutex::new(Node {
            view: ("1-copying", &["n1", "n2", "n3"]),
            after_removal: Some(("2-stable", &["n1", "n2"])),
            asked: Vec::new(),
        }));
        let (operator, desk, _) = operator(&node).await;
        let (leaves, removed) = (Wish::Leave("n2".into()), Wish::Remove("n3".into()));
        desk.ask(0, 0, leaves.clone());
        desk.ask(1, 1, removed.clone());
        operator.attempt(&leaves, 0).await;
        operator.attempt(&leaves, 0).await;
        let asked = node.lock().unwrap().asked.clone();
        assert!(asked[0].1.starts_with("DELETE /cluster/members/n3?dead=1"), "{asked:?}");
        let eras = desk.eras();
        assert_eq!(eras.len(), 2, "the removal was taken before its turn");
        assert_eq!(eras[1].members, ["n1", "n2"]);
        assert!(eras[1].span.from_ns < asked[0].0, "{:?} {asked:?}", eras[1].span);
        assert_eq!(desk.next().map(|next| next.wish), Some(leaves));
    }
}
