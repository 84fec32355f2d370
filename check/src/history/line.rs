//! The fast road through a line of JSON: what recorders write, without allocating for what was seen
//! before. A line with anything unusual (an escape, a nested value, a field of the wrong type) is left
//! to serde, which also finds the words for what is wrong with it; so this parser never reports errors.

use super::builder::{Raw, RawArgument};
use super::operation::{Function, Outcome};
use super::value::ValueRef;

/// What a line says, with its lists.
pub(super) struct Line<'a> {
    raw: Raw<'a>,
    values: Option<Vec<ValueRef<'a>>>,
    context: Vec<ValueRef<'a>>,
}

impl Line<'_> {
    /// The operation.
    pub(super) fn raw(&self) -> Raw<'_> {
        Raw { values: self.values.as_deref(), context: &self.context, ..self.raw.clone() }
    }
}

/// The operation on a line of JSON, if it is one of the usual kind.
pub(super) fn parse(text: &str) -> Option<Line<'_>> {
    let mut scanner = Scanner { text, bytes: text.as_bytes(), at: 0 };
    let line = scanner.line()?;
    scanner.blanks();
    (scanner.at == scanner.bytes.len()).then_some(line)
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn line(&mut self) -> Option<Line<'a>> {
        let (mut process, mut f, mut invoke_ns, mut outcome) = (None, None, None, None);
        let mut line = Line {
            raw: Raw {
                process: 0,
                f: Function::Get,
                key: ValueRef::Null,
                value: RawArgument::None,
                values: None,
                context: &[],
                invoke_ns: 0,
                return_ns: None,
                outcome: Outcome::Ok,
                version: None,
                via: None,
                node: None,
                session: None,
                gave_up_ns: None,
                is_final: false,
            },
            values: None,
            context: Vec::new(),
        };
        // One bit a known field; the names of others.
        let mut seen = 0_u32;
        let mut once = |bit: u32| {
            let fresh = seen & 1 << bit == 0;
            seen |= 1 << bit;
            fresh.then_some(())
        };
        let mut others: Vec<&str> = Vec::new();
        self.blanks();
        self.expect(b'{')?;
        loop {
            self.blanks();
            let name = self.string()?;
            self.blanks();
            self.expect(b':')?;
            self.blanks();
            match name {
                "process" => (once(0)?, process = Some(self.natural()?)).1,
                "f" => (once(1)?, f = Some(function(self.string()?)?)).1,
                "key" => (once(2)?, line.raw.key = self.value()?).1,
                "value" => (once(3)?, line.raw.value = self.argument()?).1,
                "values" => (once(4)?, line.values = self.list_or_null()?).1,
                "context" => (once(5)?, line.context = self.list_or_null()?.unwrap_or_default()).1,
                "invoke_ns" => (once(6)?, invoke_ns = Some(self.natural()?)).1,
                "return_ns" => (once(7)?, line.raw.return_ns = self.natural_or_null()?).1,
                "outcome" => (once(8)?, outcome = Some(ending(self.string()?)?)).1,
                "version" => (once(9)?, line.raw.version = self.value_or_null()?).1,
                "via" => (once(10)?, line.raw.via = self.value_or_null()?).1,
                "node" => (once(11)?, line.raw.node = self.value_or_null()?).1,
                "session" => (once(12)?, line.raw.session = self.value_or_null()?).1,
                "gave_up_ns" => (once(13)?, line.raw.gave_up_ns = self.natural_or_null()?).1,
                "final" => (once(14)?, line.raw.is_final = self.truth()?).1,
                other => {
                    if others.contains(&other) {
                        return None;
                    }
                    others.push(other);
                    if self.value().is_none() {
                        self.truth()?;
                    }
                }
            }
            self.blanks();
            match self.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        line.raw.process = process?;
        line.raw.f = f?;
        line.raw.invoke_ns = invoke_ns?;
        line.raw.outcome = outcome?;
        Some(line)
    }

    fn blanks(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let rest = &self.bytes[self.at..];
        rest.starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    fn string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20)?;
        if rest[end] != b'"' {
            return None;
        }
        let start = self.at;
        self.at += end + 1;
        self.text.get(start..start + end)
    }

    fn digits(&mut self) -> Option<u64> {
        let start = self.at;
        let mut number = 0_u64;
        while let Some(digit) = self.bytes.get(self.at).filter(|byte| byte.is_ascii_digit()) {
            number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
            self.at += 1;
        }
        let length = self.at - start;
        let plain = length > 0 && (length == 1 || self.bytes[start] != b'0');
        let over = !matches!(self.bytes.get(self.at), Some(b'.' | b'e' | b'E'));
        (plain && over).then_some(number)
    }

    fn natural(&mut self) -> Option<u64> {
        self.digits()
    }

    fn natural_or_null(&mut self) -> Option<Option<u64>> {
        if self.bytes.get(self.at) == Some(&b'n') {
            return self.word("null").map(|()| None);
        }
        self.digits().map(Some)
    }

    fn truth(&mut self) -> Option<bool> {
        match self.bytes.get(self.at)? {
            b't' => self.word("true").map(|()| true),
            b'f' => self.word("false").map(|()| false),
            _ => self.word("null").map(|()| false),
        }
    }

    fn value(&mut self) -> Option<ValueRef<'a>> {
        match self.bytes.get(self.at)? {
            b'"' => self.string().map(ValueRef::Text),
            b'n' => self.word("null").map(|()| ValueRef::Null),
            b'-' => {
                self.at += 1;
                let number = self.digits()?;
                (number > 0).then_some(())?;
                0_i64.checked_sub_unsigned(number).map(ValueRef::Integer)
            }
            _ => i64::try_from(self.digits()?).ok().map(ValueRef::Integer),
        }
    }

    fn value_or_null(&mut self) -> Option<Option<ValueRef<'a>>> {
        self.value().map(|value| (value != ValueRef::Null).then_some(value))
    }

    fn list(&mut self) -> Option<Vec<ValueRef<'a>>> {
        self.expect(b'[')?;
        self.blanks();
        let mut list = Vec::new();
        if self.bytes.get(self.at) == Some(&b']') {
            self.at += 1;
            return Some(list);
        }
        loop {
            self.blanks();
            list.push(self.value()?);
            self.blanks();
            match self.next()? {
                b',' => {}
                b']' => return Some(list),
                _ => return None,
            }
        }
    }

    fn list_or_null(&mut self) -> Option<Option<Vec<ValueRef<'a>>>> {
        if self.bytes.get(self.at) == Some(&b'n') {
            return self.word("null").map(|()| None);
        }
        self.list().map(Some)
    }

    fn argument(&mut self) -> Option<RawArgument<'a>> {
        if self.bytes.get(self.at) != Some(&b'[') {
            return self.value().map(RawArgument::One);
        }
        match self.list()?.as_slice() {
            [from, to] => Some(RawArgument::Pair(*from, *to)),
            _ => None,
        }
    }
}

fn function(name: &str) -> Option<Function> {
    Some(match name {
        "get" => Function::Get,
        "put" => Function::Put,
        "delete" => Function::Delete,
        "cas" => Function::Cas,
        "append" => Function::Append,
        "add" => Function::Add,
        "acquire" => Function::Acquire,
        "release" => Function::Release,
        "txn" => Function::Txn,
        _ => return None,
    })
}

fn ending(name: &str) -> Option<Outcome> {
    Some(match name {
        "ok" => Outcome::Ok,
        "fail" => Outcome::Fail,
        "info" => Outcome::Info,
        _ => return None,
    })
}
