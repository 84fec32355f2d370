//! What comes from outside is read or refused, with file, line and reason; never a panic. The files in
//! `data/` are small histories of our own making, one of each format.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};

use quorate_check::history::{Format, History};
use quorate_check::{Model, Options, Verdict, check, check_path};

/// Each file, what it is and what it is judged to be.
const FILES: [(&str, Format, Model, usize); 5] = [
    ("register.jsonl", Format::Jsonl, Model::CasRegister, 5),
    ("siblings.jsonl", Format::Jsonl, Model::Siblings, 8),
    ("cas-register.edn", Format::Edn, Model::CasRegister, 4),
    ("etcd.log", Format::EtcdLog, Model::CasRegister, 3),
    ("kv.txt", Format::KvLog, Model::Kv, 3),
];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Random numbers (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((x ^ (x >> 31)) % end as u64).unwrap()
    }
}

/// Reads bytes in a format; what is read must be judged, what is not must be refused in words.
fn survives(bytes: &[u8], format: Option<Format>) {
    match History::from_bytes(bytes, format, "file") {
        Ok(history) => {
            let options = Options { search_configurations_max: 2_000, ..Options::default() };
            let report = check(&history, &options);
            assert_eq!(report.operations, history.entries().len());
        }
        Err(error) => {
            let said = error.to_string();
            let (place, reason) = said.strip_prefix("file:").unwrap().split_once(' ').unwrap();
            let line = place.trim_end_matches(':');
            assert!(line.is_empty() || line.parse::<u64>().is_ok_and(|line| line > 0), "{said}");
            assert!(reason.len() > 10, "{said}");
        }
    }
}

#[test]
fn each_format_is_guessed_read_and_judged() {
    for (name, format, model, operations) in FILES {
        let bytes = std::fs::read(path(name)).unwrap();
        assert_eq!(Format::guess(&bytes), format, "{name}");
        let report = check_path(&path(name), &Options::default());
        assert_eq!(
            (report.verdict, report.model, report.operations),
            (Verdict::Valid, Some(model), operations),
            "{name}: {report:#?}"
        );
    }
}

#[test]
fn arbitrary_bytes_are_read_or_refused_in_every_format() {
    // Bytes that mean something in some format come up more often than others.
    const MEANT: &[u8] = b"{}[]()\",:;#0123456789-ntf \t\n\\invokeokfailinfo:process";
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let length = random.below(120);
        let bytes: Vec<u8> = (0..length)
            .map(|_| match random.below(4) {
                0 => u8::try_from(random.below(256)).unwrap(),
                _ => MEANT[random.below(MEANT.len())],
            })
            .collect();
        survives(&bytes, None);
        survives(&bytes, Some(Format::ALL[random.below(Format::ALL.len())]));
    }
}

#[test]
fn damaged_histories_are_read_or_refused_in_every_format() {
    let files: Vec<(Vec<u8>, Format)> =
        FILES.iter().map(|(name, format, ..)| (std::fs::read(path(name)).unwrap(), *format)).collect();
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let (mut bytes, format) = files[random.below(files.len())].clone();
        for _ in 0..1 + random.below(5) {
            let at = random.below(bytes.len());
            let until = (at + random.below(20)).min(bytes.len());
            match random.below(6) {
                0 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
                1 => bytes.truncate(at + 1),
                2 => bytes.insert(at, b"{}[]\",:0-9nt\n;("[random.below(15)]),
                3 => drop(bytes.drain(at..until)),
                4 => {
                    let part = bytes[at..until].to_vec();
                    bytes.extend(part);
                }
                _ => {
                    // A whole line twice, or one line before another.
                    let mut lines: Vec<Vec<u8>> = bytes.split(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
                    let (from, to) = (random.below(lines.len()), random.below(lines.len()));
                    let line = lines[from].clone();
                    lines.insert(to, line);
                    bytes = lines.join(&b'\n');
                }
            }
            if bytes.is_empty() {
                break;
            }
        }
        survives(&bytes, Some(format));
        survives(&bytes, None);
    }
}

/// Each kind of bad input, with the words that say what is wrong and where.
#[test]
fn bad_input_is_refused_with_file_line_and_reason() {
    let put = |process: u32, value: &str, call: u64, ret: &str, outcome: &str| {
        format!(
            r#"{{"process":{process},"f":"put","key":"k","value":"{value}","invoke_ns":{call},"return_ns":{ret},"outcome":"{outcome}"}}"#
        )
    };
    let good = put(1, "a", 10, "20", "ok");
    let cases = [
        (format!("{good}\n{{\"process\":1"), 2, "truncated"),
        (format!("{good}\nnot json\n"), 2, "expected"),
        (good.replace("\"f\":\"put\"", "\"f\":\"mend\""), 1, "mend"),
        (good.replace("\"outcome\":\"ok\"", "\"outcome\":\"maybe\""), 1, "maybe"),
        (good.replace("\"value\":\"a\",", ""), 1, "value"),
        (good.replace(":10,", ":-10,"), 1, "invalid"),
        (format!("{good}\n{}", put(1, "b", 15, "30", "ok")), 2, "process 1 invokes while"),
        (format!("{good}\n{}", put(2, "b", 5, "30", "ok")), 2, "5"),
        (put(1, "a", 20, "10", "ok"), 1, "return"),
        (put(1, "a", 10, "null", "ok"), 1, "return_ns"),
        (put(1, "a", 10, "20", "info"), 1, "return_ns"),
        (String::new(), 0, "empty"),
        (" \n \n".to_owned(), 0, "empty"),
    ];
    for (text, line, reason) in cases {
        let error =
            History::from_bytes(text.as_bytes(), Some(Format::Jsonl), "file").unwrap_err().to_string();
        let place = if line == 0 { "file:".to_owned() } else { format!("file:{line}:") };
        assert!(error.starts_with(&place) && error.contains(reason), "{text}\n{error}");
    }
    let edn = [
        ("[{:process 0, :type :invoke, :f :read}", 1, "ends inside"),
        (
            "{:process 0 :type :invoke :f :write :value 1}\n{:process 0 :type :invoke :f :read}",
            2,
            "process 0 invokes while",
        ),
        ("{:process 0 :type :ok :f :read :value 1}", 1, "process 0"),
        ("{:process 0 :type :began :f :read}", 1, ":began"),
        ("{:process 0 :type :invoke :f :mend}", 1, "mend"),
        ("{:process 0 :type :invoke :f :cas :value 1}", 1, "[from to]"),
        ("{:type :invoke :f :read}", 1, ":process"),
    ];
    for (text, line, reason) in edn {
        let error = History::from_bytes(text.as_bytes(), Some(Format::Edn), "file").unwrap_err().to_string();
        assert!(error.starts_with(&format!("file:{line}:")) && error.contains(reason), "{text}\n{error}");
    }
    let log = "INFO  jepsen.util - 0\t:invoke\t:write\t4\nINFO  jepsen.util - 0\t:mends\t:write\t4\n";
    let error = History::from_bytes(log.as_bytes(), None, "file").unwrap_err().to_string();
    assert!(error.starts_with("file:2:"), "{error}");
}

#[test]
fn unknown_keys_are_kept_out_of_the_way_and_stamps_of_jepsen_may_run_backwards() {
    let text = std::fs::read_to_string(path("register.jsonl")).unwrap();
    let more = text.replace("\"f\":", "\"attempts\":[1,{\"x\":null}],\"f\":");
    let history = History::from_bytes(more.as_bytes(), None, "file").unwrap();
    assert_eq!(history.entries().len(), 5);
    // The order of the file is real time there; stamps only say how much of it passed.
    let text = std::fs::read_to_string(path("cas-register.edn")).unwrap().replace(":time 60", ":time 5");
    let history = History::from_bytes(text.as_bytes(), None, "file").unwrap();
    assert_eq!(check(&history, &Options::default()).verdict, Verdict::Valid);
}
