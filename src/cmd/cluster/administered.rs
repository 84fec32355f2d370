//! Nodes that are asked as an administrator, for as long as it takes until one does what it is asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use quorate_client::{Client, ClientError, ClientOptions, Method, ReadOptions, Request};
use quorate_cluster::archive::{Portion, decode};
use quorate_cluster::config::parse_duration;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::members::{ADMIN_TOKEN, authorization, bearer};
use crate::cmd::remote::{Located, StoreArgs, connect, failed};
use crate::outcome::{Failure, say};

/// Before somebody is asked again.
const PAUSE: Duration = Duration::from_millis(200);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(20);
/// Longest answer: a portion ends with the record that makes it long enough, however long that is.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// Which store, and how patient to be with it.
#[derive(Debug, Args)]
pub struct AdministeredArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// How long nodes may be away, or their members change, before it is given up.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
}

/// The nodes of one store.
pub struct Administered {
    client: Client,
    authorization: Option<String>,
    patience: Duration,
    /// Whom to ask.
    next: AtomicUsize,
}

/// What a node answered.
pub enum Answered {
    /// This.
    Done(Vec<u8>),
    /// That copies are on the move: what was read of a partition so far does not go with the rest.
    Moving(String),
}

/// Why one node did not do it.
enum Refused {
    /// Nobody will.
    ForGood(Failure),
    /// It cannot now, as it says.
    ByNode(Failure),
    /// It does not answer.
    NotThere(Failure),
}

/// What a store says of itself.
pub struct Described {
    /// Its definition.
    pub store: Value,
    /// Its view, as text.
    pub view: String,
    /// How many partitions it has.
    pub partitions: u32,
}

impl Administered {
    /// The nodes that the arguments name.
    ///
    /// # Errors
    /// If they, the authority or the token cannot be used.
    pub fn new(args: &AdministeredArgs) -> Result<Self, Failure> {
        let Located { urls, ca, local } = args.store.locate()?;
        let authorization = match &local {
            Some(state) => authorization(state)?,
            None => bearer(),
        };
        let options =
            ClientOptions { deadline: ANSWER, body_bytes_max: ANSWER_BYTES_MAX, ..ClientOptions::default() };
        let client = connect(&urls, ca, options)?;
        Ok(Self { client, authorization, patience: args.timeout, next: AtomicUsize::new(0) })
    }

    /// What the store says of itself.
    ///
    /// # Errors
    /// If nobody answers in time.
    pub async fn described(&self) -> Result<Described, Failure> {
        let until = Instant::now() + self.patience;
        let cluster = loop {
            match self.client.cluster(ReadOptions::default()).await {
                Ok(cluster) => break cluster,
                Err(error) if Instant::now() >= until => return Err(failed(&error)),
                Err(_) => sleep(PAUSE).await,
            }
        };
        let partitions = cluster["placement"]["partitions"].as_u64().and_then(|n| u32::try_from(n).ok());
        let partitions = partitions
            .ok_or_else(|| Failure::setup("the node does not say how many partitions there are"))?;
        let view = cluster["view"].as_str().unwrap_or_default().to_owned();
        Ok(Described { store: cluster["store"].clone(), view, partitions })
    }

    /// Some of a partition; nothing if it has to be begun anew.
    ///
    /// # Errors
    /// If nobody gives it in time.
    pub async fn portion(
        &self,
        partition: u32,
        after: Option<&[u8]>,
        is_partial: bool,
    ) -> Result<Result<Portion, String>, Failure> {
        let mut query = Vec::new();
        query.extend(after.map(|key| format!("after={}", URL_SAFE_NO_PAD.encode(key))));
        query.extend(is_partial.then(|| "partial=1".to_owned()));
        let target = format!("/cluster/backup/{partition}?{}", query.join("&"));
        match self.ask(Method::Get, &target, b"").await? {
            Answered::Done(bytes) => {
                let unlike = |why| {
                    Failure::setup(format_args!(
                        "the node speaks otherwise ({why}): use the program of its version"
                    ))
                };
                Ok(Ok(decode(&bytes).map_err(unlike)?))
            }
            Answered::Moving(why) => Ok(Err(why)),
        }
    }

    /// Asks until it is done, or certainly never will be.
    ///
    /// # Errors
    /// If it is refused for good, or not done in time.
    pub async fn ask(&self, method: Method, target: &str, body: &[u8]) -> Result<Answered, Failure> {
        let authorization = self.authorization.as_deref().map(|shown| ("Authorization", shown));
        let headers: Vec<(&str, &str)> = authorization.into_iter().collect();
        let request = Request { method, target, headers: &headers, body };
        let until = Instant::now() + self.patience;
        let mut shown = String::new();
        loop {
            let mut failure = None;
            for _ in 0..self.client.node_count() {
                match self.ask_one(&request).await {
                    Ok(answered) => return Ok(answered),
                    Err(Refused::ForGood(failure)) => return Err(failure),
                    Err(Refused::ByNode(refusal)) => failure = Some(refusal),
                    // What a node says tells more than that another is not there.
                    Err(Refused::NotThere(silence)) => failure = failure.or(Some(silence)),
                }
                self.next.fetch_add(1, Ordering::Relaxed);
            }
            let failure = failure.unwrap_or_else(|| Failure::setup("no node was named"));
            if Instant::now() >= until {
                return Err(failure);
            }
            self.wait(&failure.to_string(), &mut shown).await;
        }
    }

    /// Asks the node that answered last, or the one behind one that did not.
    async fn ask_one(&self, request: &Request<'_>) -> Result<Answered, Refused> {
        let node = self.next.load(Ordering::Relaxed) % self.client.node_count().max(1);
        let response = match self.client.request_any(request, Some(node)).await {
            Ok((_, response)) if response.status == 200 => return Ok(Answered::Done(response.body.into())),
            Ok((_, response)) => response,
            Err(error @ (ClientError::BadRequest { .. } | ClientError::Handshake { .. })) => {
                return Err(Refused::ForGood(failed(&error)));
            }
            Err(error) => return Err(Refused::NotThere(failed(&error))),
        };
        let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let why = answer["message"].as_str().unwrap_or("it does not say why");
        match (response.status, answer["error"].as_str()) {
            (409, Some("change_under_way")) => Ok(Answered::Moving(why.to_owned())),
            (401 | 403, _) => {
                let token = format!("the token in {ADMIN_TOKEN} is shown, if there is one");
                Err(Refused::ForGood(Failure::setup(format_args!("{why} ({token})"))))
            }
            (500.., _) => Err(Refused::ByNode(Failure::unknown(why))),
            _ => Err(Refused::ForGood(Failure::setup(why))),
        }
    }

    /// Waits a moment for something to change, and says what for when that is new.
    pub async fn wait(&self, why: &str, shown: &mut String) {
        if why != shown {
            say(format_args!("waiting: {why}"));
            why.clone_into(shown);
        }
        sleep(PAUSE).await;
    }

    /// When what has not changed since now is given up.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }
}

/// A number of bytes for people.
pub fn bytes_text(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} bytes"),
        10_000..=9_999_999 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}
