//! What can go wrong with a local cluster. All of it is set-up.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a local cluster could not be started, found or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// A file or directory refused.
    #[error("{}: cannot {doing}: {source}", .path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, as in "cannot ...".
        doing: &'static str,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A directory that must be empty is not.
    #[error("{}: not empty and not a cluster of ours; name an empty or new directory", .0.display())]
    NotEmpty(PathBuf),
    /// No cluster there.
    #[error("{}: there is no cluster here (no cluster.json); start one with `quorate cluster up --dir {}`", .0.display(), .0.display())]
    NoCluster(PathBuf),
    /// `cluster.json` cannot be understood.
    #[error("{}: not a cluster file of this version: {why}", .path.display())]
    BadState {
        /// The file.
        path: PathBuf,
        /// What about it.
        why: String,
    },
    /// It runs already.
    #[error("{}: this cluster is already up ({}); stop it with `quorate cluster down --dir {}`", .dir.display(), .running.join(", "), .dir.display())]
    AlreadyUp {
        /// The directory.
        dir: PathBuf,
        /// Nodes that run.
        running: Vec<String>,
    },
    /// The directory holds a cluster with other settings.
    #[error("{}: holds a cluster with other settings ({what}); leave the settings out to start that one, or name a new directory", .dir.display())]
    OtherSettings {
        /// The directory.
        dir: PathBuf,
        /// Which setting, in both values.
        what: String,
    },
    /// All ports that were tried are taken.
    #[error("no free port found on {host} after {tried} tries; stop what uses them")]
    NoFreePort {
        /// The address.
        host: String,
        /// How many were tried.
        tried: u32,
    },
    /// Not a certificate or key, or it cannot be made.
    #[error("{what}: {why}")]
    Certificate {
        /// The file, or what was being made.
        what: String,
        /// The reason.
        why: String,
    },
    /// No node of the cluster runs.
    #[error("{}: no node of this cluster runs; start it with `quorate cluster up --dir {}`", .0.display(), .0.display())]
    NotUp(PathBuf),
    /// The cluster was laid out without such a node.
    #[error("there is no node {0} in this cluster")]
    NotLaidOut(String),
    /// There is no such node.
    #[error("{}: there is no node {id} here; there are {}", .dir.display(), .known.join(", "))]
    NoSuchNode {
        /// The directory.
        dir: PathBuf,
        /// The name given.
        id: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The settings of the cluster do not fit together.
    #[error(transparent)]
    Config(#[from] quorate_cluster::config::ConfigError),
    /// A node ended before it answered.
    #[error("node {} ended while starting ({status}); {node}", .node.id)]
    NodeEnded {
        /// The node and its log.
        node: Box<NodeLog>,
        /// How it ended.
        status: String,
    },
    /// A node runs but does not answer.
    #[error("node {} did not answer at {url}/healthz within {} s ({last}); {node}", .node.id, .waited.as_secs())]
    NodeSilent {
        /// The node and its log.
        node: Box<NodeLog>,
        /// Its address.
        url: String,
        /// How long it was given.
        waited: Duration,
        /// What the last try met.
        last: String,
    },
}

/// A node in trouble, and what it said last.
#[derive(Debug)]
pub struct NodeLog {
    /// Its name.
    pub id: String,
    /// Its log.
    pub log: PathBuf,
    /// The last lines of it.
    pub tail: String,
}

impl fmt::Display for NodeLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the end of {}:\n{}", self.log.display(), self.tail)
    }
}

impl ProcessError {
    /// For `map_err` on file operations.
    pub fn file(path: &std::path::Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, doing, source }
    }
}
