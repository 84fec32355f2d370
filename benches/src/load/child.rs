//! Processes on cores of their own, and what they cost.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::server::Manner;
use crate::processor;

/// The core of servers.
pub const SERVER_CORE: usize = 0;
/// The core of whoever asks.
pub const CLIENT_CORE: usize = 1;

/// Nanoseconds on the clock that all processes of the machine share.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or_default() * 1_000_000_000
        + u64::try_from(now.tv_nsec).unwrap_or_default()
}

/// Whether a tool is installed: whether it can be started at all.
#[must_use]
pub fn is_installed(tool: &str) -> bool {
    let quiet = Command::new(tool)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    quiet.is_ok()
}

/// A command on one core, before everything else on the machine if `first` and this user may.
#[must_use]
pub fn on_core(core: usize, first: bool, program: &str) -> Command {
    let mut words: Vec<String> = Vec::new();
    if first && may_be_first() {
        words.extend(["chrt", "-f", "10"].map(String::from));
    }
    if is_installed("taskset") {
        words.extend(["taskset".to_owned(), "-c".to_owned(), core.to_string()]);
    }
    words.push(program.to_owned());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::piped());
    command
}

/// Whether a process can be put before all others of the machine.
#[must_use]
pub fn may_be_first() -> bool {
    let tried = Command::new("chrt").args(["-f", "10", "true"]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// This bench once more.
#[must_use]
pub fn myself() -> String {
    let path = std::env::current_exe().expect("the bench knows where it is");
    path.into_os_string().into_string().expect("a path in UTF-8")
}

/// What a command printed, and the processor time that it took, in nanoseconds, to 10 ms.
///
/// # Panics
/// If it fails: there is nothing to measure then.
#[must_use]
pub fn run(mut command: Command) -> (String, f64) {
    let before = processor::of_ended_children();
    let child = command.stdout(Stdio::piped()).spawn().expect("the command starts");
    let output = child.wait_with_output().expect("the command ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {}: {text}", output.status);
    (text, processor::of_ended_children() - before)
}

/// The value of `name` in lines of `name value`.
///
/// # Panics
/// If it is not there: the other side is another version of this bench.
#[must_use]
pub fn figure(text: &str, name: &str) -> f64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// A running server.
pub struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Its port on loopback.
    pub port: u16,
}

impl Server {
    /// Starts one. With `ca_file` it speaks HTTPS.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(ca_file: Option<&str>, manner: Manner) -> Self {
        // One that never sleeps must not be put before the kernel's own threads.
        let mut command = on_core(SERVER_CORE, manner != Manner::Awake, &myself());
        command.args(["--serve", ca_file.unwrap_or("-"), manner.name()]);
        Self::spawn(command)
    }

    /// Starts a server that prints its port, and ends when its standard input does, which must be piped.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the server starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        let port = lines.recv_timeout(Duration::from_secs(10)).ok().and_then(|line| line.parse().ok());
        let stdin = child.stdin.take();
        Self { child, stdin, lines, port: port.expect("the server says its port") }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How long one that is awake has had nothing to do, and the time, both in nanoseconds.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn idle_ns(&mut self) -> (f64, f64) {
        let stdin = self.stdin.as_mut().expect("it runs");
        stdin.write_all(b"\n").and_then(|()| stdin.flush()).expect("it listens");
        let line = self.lines.recv_timeout(Duration::from_secs(10)).expect("it answers");
        let numbers = line.strip_prefix("idle ").and_then(|line| line.split_once(' '));
        let (idle, now) = numbers.expect("two numbers");
        (idle.parse().expect("a number"), now.parse().expect("a number"))
    }

    /// Ends it, and says when it stalled, in nanoseconds of the machine's clock.
    #[must_use]
    pub fn stop(mut self) -> Vec<(f64, f64)> {
        drop(self.stdin.take());
        let _ = self.child.wait();
        let stall = |line: String| {
            let (from, to) = line.strip_prefix("stall ")?.split_once(' ')?;
            Some((from.parse().ok()?, to.parse().ok()?))
        };
        self.lines.iter().filter_map(stall).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// wrk's requests a second, and processor time for each in nanoseconds; none if it is not installed.
///
/// # Panics
/// If its output is not what it was.
#[must_use]
pub fn wrk(url: &str, seconds: u64, connections: usize) -> Option<(f64, f64)> {
    if !is_installed("wrk") {
        return None;
    }
    let mut command = on_core(CLIENT_CORE, true, "wrk");
    command.args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), url]);
    let (text, cpu_ns) = run(command);
    let line = text.lines().find(|line| line.contains(" requests in ")).expect("wrk counts requests");
    let requests: f64 = line.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number");
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).expect("wrk says a rate");
    assert!(!text.contains("Non-2xx"), "{text}");
    Some((rate.trim().parse().expect("a number"), cpu_ns / requests))
}
