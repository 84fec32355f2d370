//! One client operation as it was recorded: the line format of a history.
//!
//! A line is one JSON object. The fields that checkers know are fields here; all others are kept in
//! `extra` and ignored. Whether a line makes sense beside its neighbours (order of invocation, a
//! process that invokes while still open) is the concern of [`super::HistoryBuilder`].

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::value::Value;

/// What an operation does: the field `f`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Function {
    /// Reads the key.
    Get,
    /// Writes the key.
    Put,
    /// Removes the key; its `value` is an id of its own, not something that a get returns.
    Delete,
    /// Replaces one value by another, if it is there.
    Cas,
    /// Appends to the value.
    Append,
    /// Adds an element to a set.
    Add,
    /// Takes a lock.
    Acquire,
    /// Frees a lock.
    Release,
    /// Several steps at once.
    Txn,
}

impl fmt::Display for Function {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Function::Get => "get",
            Function::Put => "put",
            Function::Delete => "delete",
            Function::Cas => "cas",
            Function::Append => "append",
            Function::Add => "add",
            Function::Acquire => "acquire",
            Function::Release => "release",
            Function::Txn => "txn",
        })
    }
}

/// How an operation ended, as far as its client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It happened.
    Ok,
    /// It certainly did not happen; a get that got no answer is `fail` too.
    Fail,
    /// It may have happened, then or at any later time.
    Info,
}

/// What an operation was given: the field `value`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Argument {
    /// The value of a put, append or add, or the id of a delete.
    One(Value),
    /// `[from, to]` of a cas.
    Pair(Value, Value),
    /// `[[f, key, value], ...]` of a txn.
    Steps(Vec<(Function, Value, Value)>),
}

impl<T: Into<Value>> From<T> for Argument {
    fn from(value: T) -> Self {
        Argument::One(value.into())
    }
}

impl Serialize for Argument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Argument::One(value) => value.serialize(serializer),
            Argument::Pair(from, to) => (from, to).serialize(serializer),
            Argument::Steps(steps) => {
                let mut list = serializer.serialize_seq(Some(steps.len()))?;
                for step in steps {
                    list.serialize_element(step)?;
                }
                list.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Lists are rare (cas and txn), so they may take the slow road over a JSON tree.
        #[derive(serde::Deserialize)]
        #[serde(untagged, expecting = "a string, an integer, null, [from, to] or [[f, key, value], ...]")]
        enum Shape {
            One(Value),
            Pair([Value; 2]),
            Steps(Vec<(Function, Value, Value)>),
        }
        Ok(match Shape::deserialize(deserializer)? {
            Shape::One(value) => Argument::One(value),
            Shape::Pair([from, to]) => Argument::Pair(from, to),
            Shape::Steps(steps) => Argument::Steps(steps),
        })
    }
}

/// One operation of one client, one line of a history.
///
/// ```
/// use quorate_check::history::{Function, Operation, Outcome};
///
/// let line = r#"{"process":4,"f":"get","key":"k1","values":["v17"],"invoke_ns":950,"return_ns":1200,"outcome":"ok"}"#;
/// let operation: Operation = serde_json::from_str(line)?;
/// assert_eq!((operation.f, operation.outcome), (Function::Get, Outcome::Ok));
/// assert_eq!(serde_json::to_string(&operation)?, line);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// The client thread: it has at most one operation open, and is retired after an `info`.
    pub process: u64,
    /// What it does.
    pub f: Function,
    /// What it does it to; null where the model has no keys.
    pub key: Value,
    /// What it was given; none for a get.
    pub value: Option<Argument>,
    /// What a successful get returned: several values are siblings, none at all is "not found".
    pub values: Option<Vec<Value>>,
    /// The values that the writer's context token covered; empty for a blind write.
    pub context: Vec<Value>,
    /// When the client called, in nanoseconds from any fixed point.
    pub invoke_ns: u64,
    /// When the answer came; none for an `info`.
    pub return_ns: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// The store's own version of what was read or written.
    pub version: Option<Value>,
    /// The node that was asked.
    pub via: Option<Value>,
    /// The node whose own copy was read, without quorum, merge or repair.
    pub node: Option<Value>,
    /// The session it belongs to, if sessions are not processes.
    pub session: Option<Value>,
    /// When the client stopped waiting for an `info`.
    pub gave_up_ns: Option<u64>,
    /// A get made after all faults were healed and the store had come to rest.
    pub r#final: bool,
    /// Fields that the format does not know, kept in order of their names.
    pub extra: BTreeMap<String, serde_json::Value>,
}

impl Operation {
    /// An operation that is still open (`info`, no return), without any of the optional fields.
    #[must_use]
    pub fn invoked(process: u64, f: Function, key: impl Into<Value>, invoke_ns: u64) -> Self {
        Operation {
            process,
            f,
            key: key.into(),
            value: None,
            values: None,
            context: Vec::new(),
            invoke_ns,
            return_ns: None,
            outcome: Outcome::Info,
            version: None,
            via: None,
            node: None,
            session: None,
            gave_up_ns: None,
            r#final: false,
            extra: BTreeMap::new(),
        }
    }
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("process", &self.process)?;
        map.serialize_entry("f", &self.f)?;
        if self.key != Value::Null {
            map.serialize_entry("key", &self.key)?;
        }
        if let Some(value) = &self.value {
            map.serialize_entry("value", value)?;
        }
        if let Some(values) = &self.values {
            map.serialize_entry("values", values)?;
        }
        if !self.context.is_empty() {
            map.serialize_entry("context", &self.context)?;
        }
        map.serialize_entry("invoke_ns", &self.invoke_ns)?;
        map.serialize_entry("return_ns", &self.return_ns)?;
        map.serialize_entry("outcome", &self.outcome)?;
        let named = [
            ("version", &self.version),
            ("via", &self.via),
            ("node", &self.node),
            ("session", &self.session),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                map.serialize_entry(name, value)?;
            }
        }
        if let Some(gave_up_ns) = self.gave_up_ns {
            map.serialize_entry("gave_up_ns", &gave_up_ns)?;
        }
        if self.r#final {
            map.serialize_entry("final", &true)?;
        }
        for (name, value) in &self.extra {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Operation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OperationVisitor)
    }
}

/// By hand, because a derived reader with `flatten` copies every field once more, and because errors
/// must name the field.
struct OperationVisitor;

/// Reads the value of one field, once, and names the field in errors.
fn field<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    name: &str,
    slot: &mut Option<T>,
) -> Result<(), A::Error> {
    if slot.is_some() {
        return Err(A::Error::custom(format!("field `{name}` appears twice")));
    }
    *slot = Some(map.next_value().map_err(|error| A::Error::custom(format!("field `{name}`: {error}")))?);
    Ok(())
}

impl<'de> Visitor<'de> for OperationVisitor {
    type Value = Operation;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an operation: a JSON object with process, f, key, invoke_ns, outcome, ...")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Operation, A::Error> {
        let (mut process, mut f, mut key, mut value) = (None, None, None, None);
        let mut values: Option<Option<Vec<Value>>> = None;
        let mut context: Option<Option<Vec<Value>>> = None;
        let (mut invoke_ns, mut return_ns, mut outcome) = (None, None, None);
        let (mut version, mut via, mut node, mut session) = (None, None, None, None);
        let (mut gave_up_ns, mut is_final) = (None, None);
        let mut extra = BTreeMap::new();
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match name.as_ref() {
                "process" => field(&mut map, "process", &mut process)?,
                "f" => field(&mut map, "f", &mut f)?,
                "key" => field(&mut map, "key", &mut key)?,
                "value" => field(&mut map, "value", &mut value)?,
                "values" => field(&mut map, "values", &mut values)?,
                "context" => field(&mut map, "context", &mut context)?,
                "invoke_ns" => field(&mut map, "invoke_ns", &mut invoke_ns)?,
                "return_ns" => field(&mut map, "return_ns", &mut return_ns)?,
                "outcome" => field(&mut map, "outcome", &mut outcome)?,
                "version" => field(&mut map, "version", &mut version)?,
                "via" => field(&mut map, "via", &mut via)?,
                "node" => field(&mut map, "node", &mut node)?,
                "session" => field(&mut map, "session", &mut session)?,
                "gave_up_ns" => field(&mut map, "gave_up_ns", &mut gave_up_ns)?,
                "final" => field(&mut map, "final", &mut is_final)?,
                other => {
                    let mut slot = None;
                    field(&mut map, other, &mut slot)?;
                    if extra.insert(other.to_owned(), slot.unwrap_or_default()).is_some() {
                        return Err(A::Error::custom(format!("field `{other}` appears twice")));
                    }
                }
            }
        }
        let missing = |name: &str| A::Error::custom(format!("field `{name}` is missing"));
        Ok(Operation {
            process: process.ok_or_else(|| missing("process"))?,
            f: f.ok_or_else(|| missing("f"))?,
            key: key.unwrap_or_default(),
            value,
            values: values.flatten(),
            context: context.flatten().unwrap_or_default(),
            invoke_ns: invoke_ns.ok_or_else(|| missing("invoke_ns"))?,
            return_ns: return_ns.flatten(),
            outcome: outcome.ok_or_else(|| missing("outcome"))?,
            version: version.flatten(),
            via: via.flatten(),
            node: node.flatten(),
            session: session.flatten(),
            gave_up_ns: gave_up_ns.flatten(),
            r#final: is_final.flatten().unwrap_or(false),
            extra,
        })
    }
}
