//! Runs the program, and waits for processes without guessing how long they take.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tempfile::TempDir;

/// How long a program may take to say what is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Ended with `code`, or the test fails with all that was printed.
    #[track_caller]
    pub fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Failed for set-up or input, saying each of `parts` on standard error.
    #[track_caller]
    pub fn refused(self, parts: &[&str]) {
        let ended = self.with(3);
        for part in parts {
            assert!(ended.stderr.contains(part), "`{part}` is not in {ended:#?}");
        }
        assert!(!ended.stderr.contains("panicked"), "{ended:#?}");
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }
}

/// The program with these words.
pub fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.args(words).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub fn quorate(words: &[&str]) -> Ended {
    ended(command(words).output().unwrap())
}

/// Runs the program with something on standard input.
pub fn quorate_with_input(words: &[&str], input: &[u8]) -> Ended {
    let mut command = command(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    ended(child.wait_with_output().unwrap())
}

/// How a program that was run to its end did.
pub fn ended(output: std::process::Output) -> Ended {
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A running program whose standard error is read line by line.
pub struct Running {
    pub child: Child,
    lines: BufReader<std::process::ChildStderr>,
}

impl Running {
    pub fn start(words: &[&str]) -> Self {
        Self::spawn(&mut command(words))
    }

    /// A node, which leaves when the test ends, however it ends.
    pub fn serve(words: &[&str]) -> Self {
        Self::spawn(command(&["serve", "--until-stdin-closes"]).args(words).stdin(Stdio::piped()))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Self { child, lines }
    }

    /// Reads standard error until a line holds `part`; not for ever, or a program that says it in other
    /// words would hold up everybody.
    #[track_caller]
    pub fn wait_for(&mut self, part: &str) {
        let (mut all, end) = (String::new(), Instant::now() + PATIENCE);
        while !all.lines().last().is_some_and(|line| line.contains(part)) {
            let left = end.saturating_duration_since(Instant::now());
            let mut more = [PollFd::new(self.lines.get_ref(), PollFlags::IN)];
            let is_there = !self.lines.buffer().is_empty()
                || poll(&mut more, Some(&left.try_into().unwrap())).unwrap() == 1;
            assert!(is_there && !left.is_zero(), "no `{part}` within {PATIENCE:?}: {all}");
            assert_ne!(self.lines.read_line(&mut all).unwrap(), 0, "it ended without saying `{part}`: {all}");
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn end(self) -> Ended {
        // The rest of standard error is read beside standard output, or a full pipe would stop it.
        let Self { child, lines } = self;
        let rest =
            std::thread::spawn(move || lines.lines().map_while(Result::ok).collect::<Vec<_>>().join("\n"));
        let mut ended = ended(child.wait_with_output().unwrap());
        ended.stderr = rest.join().unwrap();
        ended
    }
}

/// A process that is watched, so that its end can be waited for even if it is no child of ours.
pub struct Watched {
    pub pid: i32,
    handle: OwnedFd,
}

impl Watched {
    pub fn new(pid: i32) -> Self {
        let handle = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
        Self { pid, handle }
    }

    /// Whether it is gone, waiting for it at most twenty seconds.
    pub fn is_gone(&self) -> bool {
        let mut polled = [PollFd::new(&self.handle, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec { tv_sec: 20, tv_nsec: 0 })).unwrap() == 1
    }
}

/// The nodes in a `cluster.json`.
pub fn nodes_of(cluster: &Path) -> Vec<Watched> {
    let text = std::fs::read_to_string(cluster.join("cluster.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    let pids = state["nodes"].as_array().unwrap().iter().map(|node| node["pid"].as_i64().unwrap());
    pids.map(|pid| Watched::new(i32::try_from(pid).unwrap())).collect()
}

/// A local cluster that is stopped when the test ends, however it ends.
pub struct Cluster {
    dir: TempDir,
}

impl Cluster {
    /// A cluster whose store is `store` (TOML), of as many nodes.
    pub fn up(store: &str, nodes: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("store.toml");
        std::fs::write(&file, store).unwrap();
        let cluster = Self { dir };
        let (file, path) = (file.display().to_string(), cluster.path());
        quorate(&["cluster", "up", "--store", &file, "--nodes", nodes, "--dir", &path]).with(0);
        cluster
    }

    /// A store on one node, for tests of what one node answers.
    pub fn of_one() -> Self {
        Self::up(
            "replicas = 1\nread_quorum = 1\nwrite_quorum = 1\nkey_bytes_max = 16\nvalue_bytes_max = 64\n",
            "1",
        )
    }

    pub fn dir(&self) -> PathBuf {
        self.dir.path().join("cluster")
    }

    pub fn path(&self) -> String {
        self.dir().display().to_string()
    }

    /// Runs a client's command against it.
    pub fn client(&self, words: &[&str]) -> Ended {
        let path = self.path();
        let mut all = words.to_vec();
        all.extend(["--dir", path.as_str()]);
        quorate(&all)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        quorate(&["cluster", "down", "--dir", &self.path()]);
    }
}

/// Writes a file into a directory and returns its path as a word.
pub fn file(dir: &TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}
