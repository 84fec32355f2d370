//! Words that the program does not know, help, and readers that go away.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::process::Stdio;

use crate::harness::{command, quorate};

const COMMANDS: &[&[&str]] = &[
    &["bench"],
    &["chaos", "run"],
    &["chaos", "list"],
    &["chaos", "replay"],
    &["chaos", "shrink"],
    &["check"],
    &["serve"],
    &["cluster", "up"],
    &["cluster", "add"],
    &["cluster", "remove"],
    &["cluster", "down"],
    &["cluster", "status"],
    &["get"],
    &["put"],
    &["delete"],
    &["report"],
    &["ring", "plan"],
    &["ring", "simulate"],
];

#[test]
fn every_command_has_help_with_an_example_and_takes_json() {
    for words in COMMANDS {
        let mut words = words.to_vec();
        words.push("--help");
        let help = quorate(&words).with(0).stdout;
        assert!(help.contains("Example") && help.contains("--json"), "{words:?}: {help}");
        assert!(!help.contains('\u{1b}'), "colours although NO_COLOR is set");
    }
}

#[test]
fn wrong_usage_is_exit_code_3() {
    quorate(&[]).refused(&["Usage"]);
    quorate(&["bnech"]).refused(&["bnech", "bench"]);
    quorate(&["bench", "--rat", "5"]).refused(&["--rat", "--rate"]);
    quorate(&["bench", "--duration", "soon"]).refused(&["--duration", "soon", "100ms"]);
    quorate(&["put"]).refused(&["KEY"]);
    quorate(&["chaos", "run", "--seeds", "9..2"]).refused(&["9..2", "smaller number first"]);
    quorate(&["chaos", "shrink", "x"]).refused(&["x/run.json"]);
    quorate(&["chaos", "shrink", "x", "--budget", "much"]).refused(&["`much`", "500 or 10m"]);
    quorate(&["chaos", "shrink", "x", "--property", "no-lost-wirte"])
        .refused(&["did you mean `no-lost-write`"]);
}

#[test]
fn version_is_an_answer() {
    assert!(quorate(&["--version"]).with(0).stdout.starts_with("quorate "));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child =
        command(&["chaos", "list"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
