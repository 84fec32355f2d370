//! EDN, the data notation of Clojure, as far as histories need it: read form by form, so that a file of
//! a million maps is never in memory as a tree.
//!
//! Commas are blanks, `;` begins a comment, `#_` discards the form after it, `#{...}` is a set, any other
//! tag is dropped and the form after it kept (so records read as maps). Numbers that are no 64-bit
//! integers, characters and symbols are kept as their text.

use std::fmt;

/// How deep forms may nest: far above any history, far below the end of the stack.
const DEPTH_MAX: usize = 64;

/// One form.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Edn {
    Nil,
    Truth(bool),
    Integer(i64),
    Keyword(String),
    Text(String),
    /// A symbol, a character or a number that is no integer of 64 bits.
    Word(String),
    /// A list or a vector.
    List(Vec<Edn>),
    Set(Vec<Edn>),
    Map(Vec<(Edn, Edn)>),
}

impl Edn {
    /// The value of a keyword key of a map.
    pub(super) fn get(&self, name: &str) -> Option<&Edn> {
        let Edn::Map(entries) = self else { return None };
        entries
            .iter()
            .find(|(key, _)| matches!(key, Edn::Keyword(key) if key == name))
            .map(|(_, value)| value)
    }
}

impl fmt::Display for Edn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = |open: &str, items: &[Edn], close: &str| {
            out.write_str(open)?;
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.write_str(" ")?;
                }
                write!(out, "{item}")?;
            }
            out.write_str(close)
        };
        match self {
            Edn::Nil => out.write_str("nil"),
            Edn::Truth(truth) => write!(out, "{truth}"),
            Edn::Integer(number) => write!(out, "{number}"),
            Edn::Keyword(name) => write!(out, ":{name}"),
            Edn::Text(text) => write_text(out, text),
            Edn::Word(word) => out.write_str(word),
            Edn::List(items) => list("[", items, "]"),
            Edn::Set(items) => list("#{", items, "}"),
            Edn::Map(entries) => {
                out.write_str("{")?;
                for (place, (key, value)) in entries.iter().enumerate() {
                    write!(out, "{}{key} {value}", if place > 0 { ", " } else { "" })?;
                }
                out.write_str("}")
            }
        }
    }
}

fn write_text(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    for letter in text.chars() {
        match letter {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\t' => out.write_str("\\t")?,
            '\r' => out.write_str("\\r")?,
            other => out.write_char(other)?,
        }
    }
    out.write_char('"')
}

/// What is wrong with a text, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EdnError {
    pub(super) line: u64,
    pub(super) why: String,
}

/// Reads forms one after another.
pub(super) struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Reader { text, bytes: text.as_bytes(), at: 0, line: 1 }
    }

    /// The line, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    pub(super) fn at_line(text: &'a str, line: u64) -> Self {
        Reader { line, ..Reader::new(text) }
    }

    /// The next byte that means something, not taken; none at the end.
    pub(super) fn peek(&mut self) -> Result<Option<u8>, EdnError> {
        self.blanks(0)?;
        Ok(self.bytes.get(self.at).copied())
    }

    /// The byte after the blanks after the next byte.
    pub(super) fn peek_inside(&mut self) -> Result<Option<u8>, EdnError> {
        self.peek()?;
        let (at, line) = (self.at, self.line);
        self.at = (self.at + 1).min(self.bytes.len());
        let inside = self.peek();
        (self.at, self.line) = (at, line);
        inside
    }

    /// Takes the next byte that means something.
    pub(super) fn take(&mut self) -> Result<Option<u8>, EdnError> {
        let byte = self.peek()?;
        self.at += usize::from(byte.is_some());
        Ok(byte)
    }

    fn error<T>(&self, why: impl Into<String>) -> Result<T, EdnError> {
        Err(EdnError { line: self.line, why: why.into() })
    }

    fn blanks(&mut self, depth: usize) -> Result<(), EdnError> {
        loop {
            match self.bytes.get(self.at) {
                Some(b'\n') => {
                    self.line += 1;
                    self.at += 1;
                }
                Some(b' ' | b',' | b'\t' | b'\r' | 0x0c) => self.at += 1,
                Some(b';') => {
                    let rest = &self.bytes[self.at..];
                    self.at += rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
                }
                Some(b'#') if self.bytes.get(self.at + 1) == Some(&b'_') => {
                    self.at += 2;
                    self.form(depth + 1)?;
                }
                _ => return Ok(()),
            }
        }
    }

    /// The next form; an error at the end of the text.
    pub(super) fn read(&mut self) -> Result<Edn, EdnError> {
        self.form(0)
    }

    fn form(&mut self, depth: usize) -> Result<Edn, EdnError> {
        if depth > DEPTH_MAX {
            return self.error(format!("forms nest deeper than {DEPTH_MAX}"));
        }
        self.blanks(depth)?;
        let Some(&byte) = self.bytes.get(self.at) else {
            return self.error("the file ends inside a form");
        };
        match byte {
            b'(' => self.items(b')', depth).map(Edn::List),
            b'[' => self.items(b']', depth).map(Edn::List),
            b'{' => self.map(depth),
            b'"' => self.string(),
            b':' => {
                self.at += 1;
                let name = self.word();
                if name.is_empty() { self.error("a keyword without a name") } else { Ok(Edn::Keyword(name)) }
            }
            b'#' => self.tagged(depth),
            b'\\' => {
                let start = self.at;
                self.at += 1;
                // A character may itself be a delimiter.
                let letter = self.text[self.at..].chars().next().map_or(0, char::len_utf8);
                self.at += letter;
                self.word();
                Ok(Edn::Word(self.text[start..self.at].to_owned()))
            }
            b')' | b']' | b'}' => self.error(format!("`{}` closes nothing", char::from(byte))),
            b'^' | b'\'' | b'`' | b'@' | b'~' => {
                self.error(format!("`{}` begins no EDN form", char::from(byte)))
            }
            _ => Ok(atom(self.word())),
        }
    }

    fn items(&mut self, close: u8, depth: usize) -> Result<Vec<Edn>, EdnError> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.blanks(depth)?;
            match self.bytes.get(self.at) {
                Some(&byte) if byte == close => {
                    self.at += 1;
                    return Ok(items);
                }
                _ => items.push(self.form(depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Edn, EdnError> {
        let line = self.line;
        let items = self.items(b'}', depth)?;
        if items.len() % 2 == 1 {
            return Err(EdnError { line, why: "a map with a key that has no value".to_owned() });
        }
        let mut entries = Vec::with_capacity(items.len() / 2);
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            entries.push((key, value));
        }
        Ok(Edn::Map(entries))
    }

    fn tagged(&mut self, depth: usize) -> Result<Edn, EdnError> {
        self.at += 1;
        match self.bytes.get(self.at) {
            Some(b'{') => self.items(b'}', depth).map(Edn::Set),
            Some(b'"') => self.string(),
            Some(b'#') => {
                self.at += 1;
                Ok(Edn::Word(format!("##{}", self.word())))
            }
            Some(b'[' | b'(') => self.form(depth + 1),
            _ => {
                self.word();
                self.form(depth + 1)
            }
        }
    }

    fn string(&mut self) -> Result<Edn, EdnError> {
        let line = self.line;
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.bytes[self.at..];
            let Some(end) = rest.iter().position(|&byte| byte == b'"' || byte == b'\\') else {
                return Err(EdnError { line, why: "the file ends inside a string".to_owned() });
            };
            text.push_str(&self.text[self.at..self.at + end]);
            self.line += rest[..end].iter().filter(|&&byte| byte == b'\n').count() as u64;
            self.at += end + 1;
            if rest[end] == b'"' {
                return Ok(Edn::Text(text));
            }
            let Some(letter) = self.text[self.at..].chars().next() else { continue };
            self.at += letter.len_utf8();
            match letter {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                'u' => {
                    let code =
                        self.text.get(self.at..self.at + 4).and_then(|hex| u32::from_str_radix(hex, 16).ok());
                    let Some(code) = code else { return self.error("`\\u` without four hexadecimal digits") };
                    self.at += 4;
                    text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                other => text.push(other),
            }
        }
    }

    fn word(&mut self) -> String {
        let rest = &self.bytes[self.at..];
        let ends = |byte: &u8| {
            matches!(byte, b' ' | b',' | b'\t' | b'\r' | b'\n' | 0x0c | b';' | b'"')
                || matches!(byte, b'(' | b')' | b'[' | b']' | b'{' | b'}')
        };
        let end = rest.iter().position(ends).unwrap_or(rest.len());
        let word = self.text[self.at..self.at + end].to_owned();
        self.at += end;
        word
    }
}

fn atom(word: String) -> Edn {
    match word.as_str() {
        "nil" => return Edn::Nil,
        "true" => return Edn::Truth(true),
        "false" => return Edn::Truth(false),
        _ => {}
    }
    let digits = word.strip_suffix('N').unwrap_or(&word);
    match digits.parse::<i64>() {
        Ok(number) => Edn::Integer(number),
        Err(_) => Edn::Word(word),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn one(text: &str) -> String {
        Reader::new(text).read().map_or_else(|e| format!("{}: {}", e.line, e.why), |form| form.to_string())
    }

    #[test]
    fn forms_are_read_as_clojure_reads_them() {
        for (text, expected) in [
            ("nil", "nil"),
            (" ; a comment\n -17N", "-17"),
            ("[1, 2 (3 #{4})]", "[1 2 [3 #{4}]]"),
            ("{:a 1, :b \"x\\\"\\n\\u0041\"}", "{:a 1, :b \"x\\\"\\nA\"}"),
            ("#knossos.op.Op{:process 1}", "{:process 1}"),
            ("#_ {:gone 1} #inst \"2026\"", "\"2026\""),
            ("[1.5 \\a \\( foo/bar ##NaN true]", "[1.5 \\a \\( foo/bar ##NaN true]"),
            ("#[1 2]", "[1 2]"),
            ("\n\n[1", "3: the file ends inside a form"),
            ("{:a}", "1: a map with a key that has no value"),
            ("\"abc", "1: the file ends inside a string"),
            ("]", "1: `]` closes nothing"),
        ] {
            assert_eq!(one(text), expected, "{text}");
        }
        assert!(one(&"[".repeat(1_000_000)).contains("nest deeper"));
        assert!(one(&"#_".repeat(1_000_000)).contains("nest deeper"));
    }
}
