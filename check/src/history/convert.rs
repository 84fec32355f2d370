//! From a history in memory back to operations, and to JSON Lines or EDN.

use std::io::{self, Write};

use super::compact::{History, NONE};
use super::edn::Edn;
use super::format::Format;
use super::intern::Id;
use super::operation::{Argument, Function, Operation, Outcome};
use super::value::Value;
use super::write::HistoryWriter;

impl History {
    /// One operation as a line would have it. Fields that checkers do not know are not kept in memory and
    /// so are missing.
    #[must_use]
    pub fn operation(&self, number: usize) -> Operation {
        let entry = &self.entries[number];
        let id = u32::try_from(number).unwrap_or(NONE);
        let named = |id: Id| (id != NONE).then(|| self.value(id).clone());
        let list = |ids: &[Id]| ids.iter().map(|&id| self.value(id).clone()).collect::<Vec<Value>>();
        let mut operation = Operation::invoked(
            self.process_of(number),
            entry.f,
            self.key_of(number).clone(),
            entry.invoke_ns(),
        );
        operation.value = match entry.f {
            Function::Get => None,
            Function::Cas => {
                named(self.source_of(id)).zip(named(entry.value)).map(|(a, b)| Argument::Pair(a, b))
            }
            Function::Txn => Some(Argument::Steps(
                self.steps_of(id)
                    .iter()
                    .map(|step| (step.f, self.value(step.key).clone(), self.value(step.value).clone()))
                    .collect(),
            )),
            _ => named(entry.value).map(Argument::One),
        };
        operation.values = entry.is_ok(Function::Get).then(|| list(self.values_of(id)));
        operation.context = list(self.context_of(id));
        operation.return_ns = entry.return_ns();
        operation.outcome = entry.outcome;
        operation.version = self.version(number).cloned();
        operation.via = self.via(number).cloned();
        operation.node = self.node(number).cloned();
        operation.session = self.session(number).cloned();
        operation.gave_up_ns = self.gave_up_ns(number);
        operation.r#final = entry.is_final;
        operation
    }

    /// Writes the history in another format, JSON Lines or EDN, and says what that format cannot say.
    ///
    /// # Errors
    /// What the writer says; other formats cannot be written.
    pub fn convert(&self, to: Format, out: impl Write) -> io::Result<Vec<String>> {
        match to {
            Format::Jsonl => self.to_jsonl(out),
            Format::Edn => self.to_edn(out),
            Format::EtcdLog | Format::KvLog => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{} is read, but not written; jsonl and edn are", to.name()),
            )),
        }
    }

    fn to_jsonl(&self, out: impl Write) -> io::Result<Vec<String>> {
        let mut writer = HistoryWriter::plain(io::BufWriter::new(out));
        for number in 0..self.entries.len() {
            writer.write(&self.operation(number))?;
        }
        writer.finish()?;
        let model = crate::guess_model(self);
        let initial = crate::initial_of(self.conventions.format, model).map(|initial| {
            let json = serde_json::to_string(&initial).unwrap_or_default();
            format!(
                "JSON Lines begin with nothing: check the result with --model {} --initial '{json}'",
                model.name()
            )
        });
        Ok(initial.into_iter().collect())
    }

    /// Events in order of time; calls before returns at equal stamps, since those are concurrent, except
    /// that a process ends what it has open before it calls again.
    fn to_edn(&self, out: impl Write) -> io::Result<Vec<String>> {
        let mut out = io::BufWriter::new(out);
        let mut events: Vec<(i64, u8, u32)> = Vec::with_capacity(2 * self.entries.len());
        for (number, entry) in (0_u32..).zip(&self.entries) {
            events.push((entry.invoke, 1, number));
            if entry.return_ns().is_some() {
                let at_once = self.entries.get(number as usize + 1..).unwrap_or_default().iter();
                let again = at_once
                    .take_while(|other| other.invoke <= entry.ret)
                    .any(|other| other.process == entry.process && other.invoke == entry.ret);
                events.push((entry.ret, if again && entry.ret > entry.invoke { 0 } else { 2 }, number));
            }
        }
        events.sort_unstable();
        let mut lost = Lost::default();
        for (at, phase, number) in events {
            lost.look(self, number);
            writeln!(out, "{}", self.event(at, phase, number))?;
        }
        out.flush()?;
        Ok(lost.say())
    }

    fn event(&self, at: i64, phase: u8, number: u32) -> Edn {
        let entry = self.entry(number);
        let keyword = |name: &str| Edn::Keyword(name.to_owned());
        let outcome = match (phase, entry.outcome) {
            (1, _) => "invoke",
            (_, Outcome::Ok) => "ok",
            (_, Outcome::Fail) => "fail",
            (_, Outcome::Info) => "info",
        };
        let f = match entry.f {
            Function::Get => "read".to_owned(),
            Function::Put => "write".to_owned(),
            other => other.to_string(),
        };
        let form = |id: Id| if id == NONE { Edn::Nil } else { edn(self.value(id)) };
        let value = match entry.f {
            Function::Get if phase == 1 => Edn::Nil,
            Function::Get => match self.values_of(number) {
                [] if self.is_set() => Edn::List(Vec::new()),
                [] => Edn::Nil,
                [one] if !self.is_set() => form(*one),
                several => Edn::List(several.iter().map(|&id| form(id)).collect()),
            },
            Function::Cas => Edn::List(vec![form(self.source_of(number)), form(entry.value)]),
            Function::Txn => Edn::List(
                self.steps_of(number)
                    .iter()
                    .map(|step| {
                        let reads = step.f == Function::Get;
                        let seen = if reads && phase == 1 { Edn::Nil } else { form(step.value) };
                        Edn::List(vec![keyword(if reads { "read" } else { "write" }), form(step.key), seen])
                    })
                    .collect(),
            ),
            _ => form(entry.value),
        };
        let process = self.process_of(number as usize).cast_signed();
        let mut entries = vec![
            (keyword("process"), Edn::Integer(process)),
            (keyword("type"), keyword(outcome)),
            (keyword("f"), keyword(&f)),
            (keyword("value"), value),
            (keyword("time"), Edn::Integer(at)),
        ];
        let key = self.key_of(number as usize);
        if *key != Value::Null {
            entries.insert(3, (keyword("key"), edn(key)));
        }
        Edn::Map(entries)
    }

    fn is_set(&self) -> bool {
        self.entries.iter().any(|entry| entry.f == Function::Add)
    }
}

fn edn(value: &Value) -> Edn {
    match value {
        Value::Null => Edn::Nil,
        Value::Integer(number) => Edn::Integer(*number),
        Value::Text(text) => {
            let name = text.strip_prefix(':').filter(|name| {
                !name.is_empty()
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            });
            name.map_or_else(|| Edn::Text(text.to_string()), |name| Edn::Keyword(name.to_owned()))
        }
    }
}

/// What EDN, as Jepsen's checkers read it, cannot say.
#[derive(Default)]
struct Lost {
    nothing: bool,
    siblings: bool,
    fields: bool,
}

impl Lost {
    fn look(&mut self, history: &History, number: u32) {
        let entry = history.entry(number);
        if entry.is_ok(Function::Get) && !history.is_set() {
            self.nothing |= history.values_of(number).is_empty();
            self.siblings |= history.values_of(number).len() > 1;
        }
        self.siblings |= !history.context_of(number).is_empty();
        self.fields |= history.version_of(number) != NONE
            || history.node_of(number) != NONE
            || history.session_of(number) != NONE
            || entry.is_final;
    }

    fn say(&self) -> Vec<String> {
        [
            (self.nothing, "gets that found nothing become reads of nil, which EDN checkers do not judge"),
            (self.siblings, "contexts and gets of several values are no part of EDN histories"),
            (self.fields, "version, node, session and final are no part of EDN histories"),
        ]
        .into_iter()
        .filter(|(lost, _)| *lost)
        .map(|(_, says)| says.to_owned())
        .collect()
    }
}
