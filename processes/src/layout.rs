//! Which file of a cluster is where in its directory.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::ProcessError;

/// One cluster's directory.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    logs: PathBuf,
}

impl Layout {
    /// Takes an absent or empty directory, or one that holds a cluster already.
    ///
    /// # Errors
    /// If it holds something else, or cannot be made or read.
    pub fn claim(dir: &Path) -> Result<Self, ProcessError> {
        make_dir(dir)?;
        let layout = Self::existing(dir)?;
        let mut entries = fs::read_dir(dir).map_err(ProcessError::file(dir, "read the directory"))?;
        if entries.next().is_some() && !layout.state_file().exists() {
            return Err(ProcessError::NotEmpty(dir.to_owned()));
        }
        Ok(layout)
    }

    /// A directory that is there. Paths in it are absolute, because nodes are found again by them.
    ///
    /// # Errors
    /// If it is not there.
    pub fn existing(dir: &Path) -> Result<Self, ProcessError> {
        let root = fs::canonicalize(dir).map_err(ProcessError::file(dir, "open the directory"))?;
        Ok(Self { logs: root.join("nodes"), root })
    }

    /// Puts the logs of the nodes elsewhere, such as into a run directory that outlives the data.
    #[must_use]
    pub fn with_logs(self, logs: PathBuf) -> Self {
        Self { logs, ..self }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `cluster.json`.
    pub fn state_file(&self) -> PathBuf {
        self.root.join("cluster.json")
    }

    /// The authority that clients trust.
    pub fn ca_file(&self) -> PathBuf {
        self.root.join("ca.pem")
    }

    /// Its key, for certificates of nodes that join later.
    pub fn ca_key_file(&self) -> PathBuf {
        self.root.join("ca.key.pem")
    }

    /// The key that context tokens are authenticated with.
    pub fn token_key_file(&self) -> PathBuf {
        self.root.join("token.key")
    }

    /// The token that members are changed with.
    pub fn admin_token_file(&self) -> PathBuf {
        self.root.join("admin.token")
    }

    /// A node's own directory.
    pub fn node_dir(&self, id: &str) -> PathBuf {
        self.root.join("nodes").join(id)
    }

    /// A node's configuration file.
    pub fn config_file(&self, id: &str) -> PathBuf {
        self.node_dir(id).join("config.toml")
    }

    /// What a node prints.
    pub fn log_file(&self, id: &str) -> PathBuf {
        self.logs.join(format!("{id}.log"))
    }
}

/// Makes a directory and those above it.
///
/// # Errors
/// With the path that refused.
pub fn make_dir(dir: &Path) -> Result<(), ProcessError> {
    fs::create_dir_all(dir).map_err(ProcessError::file(dir, "make the directory"))
}

/// Writes a whole file.
///
/// # Errors
/// With the path that refused.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ProcessError> {
    fs::write(path, bytes).map_err(ProcessError::file(path, "write the file"))
}

/// Writes a whole file that only its owner may read.
///
/// # Errors
/// With the path that refused.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), ProcessError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(bytes));
    written.map_err(ProcessError::file(path, "write the file"))
}

/// The last lines of a log, for people to read where something went wrong.
pub fn tail(path: &Path) -> String {
    const LINES: usize = 15;
    match fs::read(path) {
        Ok(bytes) if bytes.is_empty() => "  (it is empty)".into(),
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            let from = lines.len().saturating_sub(LINES);
            lines[from..].iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
        }
        Err(e) => format!("  (cannot be read: {e})"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn only_an_empty_directory_or_a_cluster_is_claimed() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("new/cluster");
        let layout = Layout::claim(&inside).unwrap();
        assert!(inside.is_dir());

        write_file(&inside.join("notes.txt"), b"mine").unwrap();
        assert!(Layout::claim(&inside).unwrap_err().to_string().contains("not empty"));
        write_file(&layout.state_file(), b"{}").unwrap();
        assert!(Layout::claim(&inside).is_ok());
    }

    #[test]
    fn a_secret_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_secret(&path, b"k").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_tail_is_the_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n1.log");
        let text: String = (0..100).map(|i| format!("line {i}\n")).collect();
        write_file(&path, text.as_bytes()).unwrap();
        let tail = tail(&path);
        assert!(tail.starts_with("  line 85") && tail.ends_with("  line 99"), "{tail}");
    }
}
