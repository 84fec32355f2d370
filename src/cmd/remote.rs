//! What `get`, `put` and `delete` share: which nodes to ask, whom to trust, what an error means.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use quorate_client::{Client, ClientError, ClientOptions, NodeChoice, NodeUrl, Retry, SetupError, TlsTrust};
use quorate_cluster::config::parse_duration;
use quorate_env::{SystemClock, TokioNetwork};

use crate::outcome::Failure;
use quorate_processes::state::ClusterState;

/// The directory of a local cluster unless another is named.
pub const DEFAULT_DIR: &str = "quorate-cluster";

/// Which store is meant.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// A node's URL, such as https://127.0.0.1:4001; given several times: one after the other.
    /// Without it, the local cluster in --dir.
    #[arg(long, value_name = "URL")]
    node: Vec<String>,
    /// The authority (PEM) that https nodes are checked by.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The local cluster to ask when no --node is given.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR)]
    dir: PathBuf,
}

/// Where a store is.
pub struct Located {
    /// Its nodes.
    pub urls: Vec<String>,
    /// The authority that they are checked by.
    pub ca: Option<PathBuf>,
    /// What was started here, if it is the local cluster.
    pub local: Option<ClusterState>,
}

impl StoreArgs {
    /// The nodes that are named, or else those of the local cluster.
    ///
    /// # Errors
    /// If none is named and there is no local cluster.
    pub fn locate(&self) -> Result<Located, Failure> {
        if !self.node.is_empty() {
            return Ok(Located { urls: self.node.clone(), ca: self.ca.clone(), local: None });
        }
        let state = ClusterState::read(&self.dir);
        let state = state.map_err(|e| Failure::setup(format_args!("no --node was given, and {e}")))?;
        // Those that do not run included.
        let urls = state.nodes.iter().map(|node| node.url.clone()).collect();
        let ca = self.ca.clone().unwrap_or_else(|| state.ca.clone());
        Ok(Located { urls, ca: Some(ca), local: Some(state) })
    }
}

/// Which store to talk to, and for how long.
#[derive(Debug, Args)]
pub struct RemoteArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// How long to wait for an answer in all.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    timeout: Duration,
}

impl RemoteArgs {
    /// A client as these arguments say. It asks the next node only after a failure that
    /// certainly had no effect.
    ///
    /// # Errors
    /// If URL, authority or local cluster are unusable.
    pub fn client(&self) -> Result<Client, Failure> {
        let Located { urls, ca, .. } = self.store.locate()?;
        let attempts = u32::try_from(urls.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let options = ClientOptions {
            // The first, and after a failure without effect the next.
            node_choice: NodeChoice::RoundRobin,
            deadline: self.timeout,
            retry: Retry::IfNeverHappened { attempts, pause: Duration::ZERO },
            ..ClientOptions::default()
        };
        connect(&urls, ca, options)
    }
}

/// A client of these nodes.
///
/// # Errors
/// If a URL or the authority is unusable.
pub fn connect(urls: &[String], ca: Option<PathBuf>, options: ClientOptions) -> Result<Client, Failure> {
    let urls: Vec<NodeUrl> = urls.iter().map(|url| url.parse()).collect::<Result<_, _>>().map_err(setup)?;
    let trust = ca
        .map(|file| TlsTrust::from_ca_file(&file, Arc::new(SystemClock::new())))
        .transpose()
        .map_err(setup)?;
    Client::new(Arc::new(TokioNetwork), urls, trust, options).map_err(setup)
}

/// A key as bytes, whatever they are.
pub fn key_bytes(key: OsString) -> Result<Vec<u8>, Failure> {
    if key.is_empty() {
        return Err(Failure::setup("KEY is empty; a key has at least one byte"));
    }
    Ok(key.into_vec())
}

fn setup(error: SetupError) -> Failure {
    let hint = if matches!(error, SetupError::NoTrust { .. }) { " with --ca FILE" } else { "" };
    Failure::setup(format_args!("{error}{hint}"))
}

/// A failed operation as this command's end: what the store refused for good is input, what
/// may have happened or may succeed later is unknown.
pub fn failed(error: &ClientError) -> Failure {
    match error {
        ClientError::BadRequest { .. } | ClientError::Connect { .. } | ClientError::Handshake { .. } => {
            Failure::setup(error)
        }
        ClientError::ConnectionLost { .. }
        | ClientError::Unprocessed { .. }
        | ClientError::Deadline { .. }
        | ClientError::Malformed { .. } => Failure::unknown(error),
        ClientError::Refused { status, maybe_applied, .. } => {
            let effect = match maybe_applied {
                Some(false) => " (nothing was stored)",
                Some(true) => " (it may have been stored)",
                None => "",
            };
            let message = format!("{error}{effect}");
            match status {
                409 | 412 => Failure::violated(message),
                500.. => Failure::unknown(message),
                _ => Failure::setup(message),
            }
        }
    }
}
