//! `cluster.json`: what was started in a directory, for commands that come later.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ProcessError;
use super::layout::{Layout, write_file};

/// The version of the file's form.
const VERSION: u32 = 1;

/// A cluster on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterState {
    version: u32,
    /// The store's name; that of its profile if it has one.
    pub store: String,
    /// The file that clients trust.
    pub ca: PathBuf,
    /// The file with the token that its members are changed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_token: Option<PathBuf>,
    /// Its nodes, in order of their names.
    pub nodes: Vec<NodeState>,
}

/// A node of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// Its name.
    pub id: String,
    /// Its process, which may be gone, or by now be another's: see [`NodeState::is_running`].
    pub pid: u32,
    /// Base URL of its API.
    pub url: String,
    /// `host:port` for peers.
    pub peer: String,
    /// Its configuration file, an absolute path.
    pub config: PathBuf,
    /// What it prints.
    pub log: PathBuf,
}

impl ClusterState {
    /// A cluster of these nodes, whose files are where `layout` has them.
    pub fn new(store: String, layout: &Layout, nodes: Vec<NodeState>) -> Self {
        let (ca, admin_token) = (layout.ca_file(), Some(layout.admin_token_file()));
        Self { version: VERSION, store, ca, admin_token, nodes }
    }

    /// What the nodes take as proof of an administrator, for the header `Authorization`; nothing for a
    /// cluster that was laid out without a token.
    ///
    /// # Errors
    /// If the file with the token cannot be read.
    pub fn authorization(&self) -> Result<Option<String>, ProcessError> {
        let Some(path) = &self.admin_token else { return Ok(None) };
        let token = fs::read_to_string(path).map_err(ProcessError::file(path, "read the file"))?;
        Ok(Some(format!("Bearer {}", token.trim())))
    }

    /// Reads the cluster in `dir`.
    ///
    /// # Errors
    /// If there is none, or its file is damaged.
    pub fn read(dir: &Path) -> Result<Self, ProcessError> {
        let path = dir.join("cluster.json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(ProcessError::NoCluster(dir.to_owned()));
            }
            Err(e) => return Err(ProcessError::file(&path, "read the file")(e)),
        };
        let state: Self = serde_json::from_str(&text)
            .map_err(|e| ProcessError::BadState { path: path.clone(), why: e.to_string() })?;
        if state.version != VERSION {
            let why = format!("version {}, this program knows {VERSION}", state.version);
            return Err(ProcessError::BadState { path, why });
        }
        Ok(state)
    }

    /// Writes it.
    ///
    /// # Errors
    /// If the file refuses.
    pub fn write(&self, layout: &Layout) -> Result<(), ProcessError> {
        let path = layout.state_file();
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| ProcessError::BadState { path: path.clone(), why: e.to_string() })?;
        write_file(&path, text.as_bytes())
    }

    /// The node called `id` of the cluster in `dir`.
    ///
    /// # Errors
    /// Names those that there are.
    pub fn node(&self, dir: &Path, id: &str) -> Result<&NodeState, ProcessError> {
        self.nodes.iter().find(|node| node.id == id).ok_or_else(|| ProcessError::NoSuchNode {
            dir: dir.to_owned(),
            id: id.to_owned(),
            known: self.nodes.iter().map(|node| node.id.clone()).collect(),
        })
    }

    /// The nodes that run.
    pub fn running(&self) -> impl Iterator<Item = &NodeState> {
        self.nodes.iter().filter(|node| node.is_running())
    }
}

impl NodeState {
    /// Where its data is.
    pub fn data_dir(&self) -> PathBuf {
        self.config.with_file_name("data")
    }

    /// Whether the process with its pid is still this node. A pid alone is no proof: it may
    /// have been given to someone else since.
    pub fn is_running(&self) -> bool {
        let config = self.config.to_string_lossy();
        command_line(self.pid).is_some_and(|words| words.iter().any(|word| word == &*config))
    }
}

/// The words a process was started with; none if it is gone or only waits to be reaped.
fn command_line(pid: u32) -> Option<Vec<String>> {
    if pid == 0 {
        return None;
    }
    if cfg!(target_os = "linux") {
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words = bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        return Some(words.collect());
    }
    let pid = pid.to_string();
    let listed =
        std::process::Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid]).output().ok()?;
    let words = String::from_utf8_lossy(&listed.stdout);
    Some(words.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn node(pid: u32, config: &str) -> NodeState {
        NodeState {
            id: "n1".into(),
            pid,
            url: "https://127.0.0.1:1".into(),
            peer: "127.0.0.1:2".into(),
            config: config.into(),
            log: "n1.log".into(),
        }
    }

    #[test]
    fn a_pid_that_belongs_to_someone_else_is_not_ours() {
        assert!(!node(std::process::id(), "/nowhere/n1/config.toml").is_running());
        assert!(!node(0, "/nowhere/n1/config.toml").is_running());
        let own_name = std::env::args().next().unwrap();
        assert!(node(std::process::id(), &own_name).is_running());
    }

    #[test]
    fn a_state_reads_back_as_written_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::claim(dir.path()).unwrap();
        assert!(matches!(ClusterState::read(dir.path()), Err(ProcessError::NoCluster(_))));

        let state = ClusterState::new("dynamo".into(), &layout, vec![node(7, "/c")]);
        state.write(&layout).unwrap();
        assert_eq!(ClusterState::read(dir.path()).unwrap(), state);

        write_file(&layout.state_file(), b"{\"version\":1").unwrap();
        let damaged = ClusterState::read(dir.path()).unwrap_err().to_string();
        assert!(damaged.contains("cluster.json"), "{damaged}");
    }
}
