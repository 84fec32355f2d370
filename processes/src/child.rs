//! One node's process: started, waited for, stopped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::Instant;

use super::error::NodeLog;
use super::health::HealthProbe;
use super::layout::tail;
use super::state::NodeState;
use super::{Lifetime, ProcessError};

/// How often a condition is looked at again.
const POLL: Duration = Duration::from_millis(20);

/// How long a node may take to answer after its start.
const START_MAX: Duration = Duration::from_secs(20);

/// How long a node may take to leave after it was asked to.
const STOP_MAX: Duration = Duration::from_secs(5);

/// A node that this process started.
pub struct NodeProcess {
    id: String,
    url: String,
    log: PathBuf,
    pid: u32,
    child: Child,
    /// While it is open the node stays: see [`Lifetime::WithHarness`].
    leash: Option<ChildStdin>,
}

impl NodeProcess {
    /// Runs `program serve --config FILE` for `node`, its output in the node's log.
    ///
    /// # Errors
    /// If program or log file refuse.
    pub fn spawn(program: &Path, node: &NodeState, lifetime: Lifetime) -> Result<Self, ProcessError> {
        let NodeState { id, url, config, log, .. } = node.clone();
        let out = File::options().create(true).append(true).open(&log);
        let out = out.map_err(ProcessError::file(&log, "open the log"))?;
        let err = out.try_clone().map_err(ProcessError::file(&log, "open the log"))?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(config).stdout(out).stderr(err);
        // A group of its own: Ctrl-C in the terminal is for the harness, which then stops the nodes.
        command.process_group(0);
        match lifetime {
            Lifetime::WithHarness => {
                command.arg("--until-stdin-closes").stdin(Stdio::piped()).kill_on_drop(true)
            }
            Lifetime::Detached => command.stdin(Stdio::null()),
        };
        let mut child = command.spawn().map_err(ProcessError::file(program, "run the program"))?;
        let leash = child.stdin.take();
        let pid = child.id().unwrap_or_default();
        Ok(Self { id, url, log, pid, child, leash })
    }

    /// The node's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its process id, even after it ended.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// If it ends first or takes too long; with the end of its log.
    pub async fn wait_until_healthy(&mut self, ca_file: &Path) -> Result<(), ProcessError> {
        let probe = self.probe(ca_file)?;
        let deadline = Instant::now() + START_MAX;
        loop {
            if let Some(status) = self.ended() {
                return Err(ProcessError::NodeEnded { node: self.log_now(), status });
            }
            let Err(last) = probe.ask().await else { return Ok(()) };
            if Instant::now() >= deadline {
                let url = self.url.clone();
                return Err(ProcessError::NodeSilent { node: self.log_now(), url, waited: START_MAX, last });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until it votes and meets its quorums: in a new store until its nodes have found each
    /// other. Not for ever: a node whose disk was lost may be refilled for long, and serves meanwhile
    /// what it can.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub async fn wait_until_ready(&mut self, ca_file: &Path) -> Result<(), ProcessError> {
        let probe = self.probe(ca_file)?;
        let deadline = Instant::now() + START_MAX;
        while probe.ask_ready().await.is_err() && self.ended().is_none() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn probe(&self, ca_file: &Path) -> Result<HealthProbe, ProcessError> {
        HealthProbe::new(&self.url, ca_file).map_err(|e| ProcessError::Certificate {
            what: ca_file.display().to_string(),
            why: e.to_string(),
        })
    }

    fn log_now(&self) -> Box<NodeLog> {
        Box::new(NodeLog { id: self.id.clone(), log: self.log.clone(), tail: tail(&self.log) })
    }

    /// Ends it without asking, and waits until it is gone.
    pub async fn kill(mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ = self.child.kill().await;
    }

    /// Asks it to leave and makes it. Says whether it had to be made to.
    pub async fn stop(mut self) -> bool {
        send(self.pid, Signal::TERM);
        drop(self.leash.take());
        if tokio::time::timeout(STOP_MAX, self.child.wait()).await.is_ok() {
            return false;
        }
        // It may have ended in between: then there is nothing to kill.
        let _ = self.child.kill().await;
        true
    }
}

/// Sends a signal. A process that is gone has nothing more to hear.
pub fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Ends a process that is not a child of this one; `is_ours` says whether the pid still is
/// what was started. Returns whether it is gone.
pub async fn end(pid: u32, is_ours: impl Fn() -> bool) -> bool {
    for signal in [Signal::TERM, Signal::KILL] {
        if !is_ours() {
            return true;
        }
        send(pid, signal);
        let deadline = Instant::now() + STOP_MAX;
        while is_ours() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
    }
    !is_ours()
}
