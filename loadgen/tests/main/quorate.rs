//! The Quorate target over HTTP against a tiny store in memory that keeps siblings.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use quorate_client::{Client, ClientOptions};
use quorate_env::{BoxFuture, BoxStream, Listener, Network};
use quorate_loadgen::{
    CallKind, Mix, OperationObserver, OperationRecord, Outcome, PlanSettings, QuorateTarget, Results, Target,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::support::{load_run, settings};

/// Each key: version number and bytes of every value that nothing has replaced.
#[derive(Default)]
struct Keys {
    siblings: BTreeMap<String, Vec<(u64, String)>>,
    versions: u64,
    blind_puts: u64,
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    None,
    /// Every fifth put is stored, and its reply lost.
    LosesReplies,
    /// Gets return a byte changed.
    Damages,
    /// There is nobody.
    Refuses,
}

#[derive(Clone)]
struct Server {
    keys: Arc<Mutex<Keys>>,
    trouble: Trouble,
}

impl Server {
    fn new(trouble: Trouble) -> Self {
        Self { keys: Arc::default(), trouble }
    }

    /// The reply, or none to close instead. A context is the list of versions it covers.
    fn answer(&self, method: &str, key: &str, context: Option<&str>, body: &str) -> Option<String> {
        let mut keys = self.keys.lock().unwrap();
        keys.versions += 1;
        let version = keys.versions;
        if method == "GET" {
            let values = keys.siblings.get(key).cloned().unwrap_or_default();
            let token: Vec<_> = values.iter().map(|(version, _)| version.to_string()).collect();
            let (status, mut body) = match values.as_slice() {
                [] => ("404 Not Found", String::new()),
                [(_, one)] => ("200 OK", one.clone()),
                several => ("300 Multiple Choices", json(several)),
            };
            if self.trouble == Trouble::Damages && status == "200 OK" {
                body.replace_range(body.len() - 1.., "!");
            }
            let length = body.len();
            return Some(format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nX-Quorate-Context: t{}\r\n\r\n{body}",
                token.join(".")
            ));
        }
        let covered: Vec<u64> =
            context.map(|t| t[1..].split('.').filter_map(|v| v.parse().ok()).collect()).unwrap_or_default();
        keys.blind_puts += u64::from(context.is_none());
        let siblings = keys.siblings.entry(key.to_owned()).or_default();
        siblings.retain(|(v, _)| !covered.contains(v));
        if method == "PUT" {
            siblings.push((version, body.to_owned()));
        }
        if self.trouble == Trouble::LosesReplies && version.is_multiple_of(5) {
            return None;
        }
        Some(format!("HTTP/1.1 204 No Content\r\nX-Quorate-Context: t{version}\r\n\r\n"))
    }

    async fn serve(self, mut stream: DuplexStream) {
        while let Some((head, body)) = read_request(&mut stream).await {
            let mut words = head.split(' ');
            let (method, path) = (words.next().unwrap(), words.next().unwrap());
            let context = head.lines().find_map(|line| line.strip_prefix("X-Quorate-Context: "));
            let Some(reply) = self.answer(method, path, context, &body) else { return };
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    }
}

fn json(values: &[(u64, String)]) -> String {
    use base64::Engine as _;
    let encode = |bytes: &str| base64::engine::general_purpose::STANDARD.encode(bytes);
    let values: Vec<_> =
        values.iter().map(|(_, v)| serde_json::json!({ "value": encode(v), "content_type": "" })).collect();
    serde_json::json!({ "values": values }).to_string()
}

async fn read_request(stream: &mut DuplexStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8(bytes.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: "));
            if body.len() >= length.map_or(0, |l| l.parse().unwrap()) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            return None;
        }
    }
}

impl Network for Server {
    fn connect<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            if self.trouble == Trouble::Refuses {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            tokio::spawn(self.clone().serve(theirs));
            Ok(Box::new(ours) as BoxStream)
        })
    }

    fn bind<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

fn client(server: &Server) -> Client {
    let url = "http://n1:7000".parse().unwrap();
    Client::new(Arc::new(server.clone()), vec![url], None, ClientOptions::default()).unwrap()
}

fn target(server: &Server) -> Arc<dyn Target> {
    Arc::new(QuorateTarget::new(client(server)))
}

#[derive(Default)]
struct Notes(Mutex<Vec<OperationRecord>>);

impl OperationObserver for Notes {
    fn observed(&self, record: OperationRecord) {
        self.0.lock().unwrap().push(record);
    }
}

async fn measure(trouble: Trouble) -> (Results, Vec<OperationRecord>, Server) {
    let server = Server::new(trouble);
    let settings = PlanSettings { load: Some(true), keys: Some(5), mix: None, ..settings() };
    let notes = Arc::new(Notes::default());
    let run = load_run(&settings.resolve().unwrap(), target(&server)).with_observer(notes.clone());
    let outcome = run.run(&mut ()).await;
    let records = std::mem::take(&mut *notes.0.lock().unwrap());
    (Results::of(&outcome.measure.unwrap()), records, server)
}

#[tokio::test(start_paused = true)]
async fn writes_carry_the_newest_context_so_that_siblings_do_not_pile_up() {
    let (results, records, server) = measure(Trouble::None).await;
    assert_eq!(results.ops["get"].ok + results.ops["put"].ok, 1000);
    let keys = server.keys.lock().unwrap();
    assert_eq!(keys.blind_puts, 5, "only those that load a key");
    assert!(keys.siblings.values().all(|values| values.len() == 1));

    // What a get returned was written before, and what a put replaced was the value then newest.
    let mut current: BTreeMap<&String, &String> = BTreeMap::new();
    for record in &records {
        match record.kind {
            CallKind::Get => assert_eq!(record.values, [current[&record.key].clone()], "{record:?}"),
            CallKind::Put | CallKind::Delete => {
                let value: &String = record.value.as_ref().unwrap();
                let replaced = current.insert(&record.key, value);
                assert_eq!(record.context, replaced.into_iter().cloned().collect::<Vec<_>>(), "{record:?}");
            }
        }
        assert_eq!((record.outcome, record.via), (Outcome::Ok, Some(0)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_only_reads_needs_nothing_kept() {
    let server = Server::new(Trouble::None);
    let mix = Some(Mix { get: 1.0, ..Mix::default() });
    let settings = PlanSettings { load: Some(true), keys: Some(5), mix, ..settings() };
    let target = Arc::new(QuorateTarget::for_reads(client(&server)));
    let outcome = load_run(&settings.resolve().unwrap(), target).run(&mut ()).await;
    let results = Results::of(&outcome.measure.unwrap());
    assert_eq!((results.ops["get"].ok, results.ops.len()), (1000, 1), "{results:?}");
    assert_eq!(server.keys.lock().unwrap().siblings.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn lost_replies_are_unknown_and_a_missing_server_is_a_definite_no() {
    let (results, records, _) = measure(Trouble::LosesReplies).await;
    let put = &results.ops["put"];
    assert!(put.info > 50 && put.fail == 0, "{put:?}");
    assert_eq!(put.errors["connection-lost"], put.info);
    assert!(records.iter().filter(|r| r.outcome == Outcome::Info).all(|r| r.kind == CallKind::Put));

    let (results, ..) = measure(Trouble::Refuses).await;
    let (get, put) = (&results.ops["get"], &results.ops["put"]);
    assert_eq!((get.ok + get.info, put.ok + put.info), (0, 0));
    assert_eq!((get.errors["connect"], put.errors["connect"]), (get.fail, put.fail));
    assert!(results.first_error.unwrap().contains("http://n1:7000: cannot connect"));
}

#[tokio::test(start_paused = true)]
async fn damaged_values_are_noticed_and_shown_to_the_checker_as_nobodys() {
    let (results, records, _) = measure(Trouble::Damages).await;
    let get = &results.ops["get"];
    assert_eq!(get.errors["damaged-value"], get.ok);
    let mut gets = records.iter().filter(|r| r.kind == CallKind::Get);
    assert!(gets.all(|r| r.values[0].ends_with("!damaged")));
}
