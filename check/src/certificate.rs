//! Proof that a history is linearizable: an order of its operations, and a small verifier that shares
//! nothing with the checkers that found it.
//!
//! The verifier replays the order on a plain object and asks three things, in one walk: does every answer
//! fit the state it was given in, does no operation stand after one that was called only after its
//! return, and is everything there that was answered? Time and memory are linear in the history and in
//! what its reads returned.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;

use crate::history::{Entry, Function, History, Id, NEVER, NONE, Outcome, Value};
use crate::linearizable::search::Folded;
use crate::report::Model;

/// A legal order of the operations of every key (or of all keys together, where one operation may touch
/// several).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificate {
    /// By key or group of keys: operations, numbered from 0 by invocation, in their order. What may not
    /// have happened may be left out.
    pub orders: Vec<Vec<u32>>,
}

impl Certificate {
    /// Operations that have a place.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.orders.iter().map(Vec::len).sum()
    }
}

/// Why an order proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refuted {
    /// Two operations in the wrong order of real time.
    #[error("operation {later} comes after operation {earlier}, which was called only after it had returned")]
    RealTime {
        /// The one that stands first, and was called too late for it.
        earlier: u32,
        /// The one that stands after it, although it had returned.
        later: u32,
    },
    /// An answer that does not fit the state.
    #[error("operation {0} does not fit the state before it")]
    Answer(u32),
    /// An operation that was answered and has no place, one with two places or one that failed.
    #[error("operation {0} has no place, or more than one, or must have none")]
    Place(u32),
}

/// Entries that are fetched at a time.
const FETCHED: usize = 64;

/// What one key, or all keys of a transactional history, hold.
#[derive(Default)]
struct Object {
    /// What a plain key holds; the inner none is "not found", the outer one the initial state.
    register: Option<Option<Id>>,
    /// The same for the registers of transactions, by key.
    registers: BTreeMap<Id, Option<Id>>,
    text: Option<String>,
    /// By element: the last get that was found to show it.
    set: HashMap<Id, u32, BuildHasherDefault<Folded>>,
    held: bool,
}

/// Checks an order, such as one that another program found.
///
/// ```
/// use quorate_check::certificate::{Certificate, verify};
/// use quorate_check::history::History;
/// use quorate_check::Model;
///
/// let lines = r#"
/// {"process":1,"f":"put","key":"k","value":"v1","invoke_ns":10,"return_ns":90,"outcome":"ok"}
/// {"process":2,"f":"get","key":"k","values":[],"invoke_ns":20,"return_ns":30,"outcome":"ok"}
/// "#;
/// let history = History::from_jsonl(lines.as_bytes(), "example.jsonl")?;
/// let order = |order: [u32; 2]| Certificate { orders: vec![order.to_vec()] };
/// assert_eq!(verify(&history, Model::Register, None, &order([1, 0])), Ok(()));
/// assert!(verify(&history, Model::Register, None, &order([0, 1])).is_err());
/// # Ok::<(), quorate_check::history::HistoryError>(())
/// ```
///
/// `initial` is what every key holds before the first write; not found if none.
///
/// # Errors
/// The first operation that refutes it.
pub fn verify(
    history: &History,
    model: Model,
    initial: Option<&Value>,
    certificate: &Certificate,
) -> Result<(), Refuted> {
    let mut placed = vec![false; history.entries().len()];
    let mut last_of_process = vec![NONE; history.process_count()];
    for order in &certificate.orders {
        let mut object = Object::default();
        let mut initial_id = None;
        match model {
            Model::Kv => object.text = initial.map(ToString::to_string),
            Model::Register | Model::CasRegister | Model::MultiRegister => {
                // A value that the history never mentions is a state that no answer fits.
                initial_id = initial.map(|value| history.find_value(value).unwrap_or(NONE));
            }
            Model::Set | Model::Mutex | Model::Siblings => {}
        }
        // The operation called last so far, and when.
        let mut latest = (NONE, i64::MIN);
        // Entries are fetched some at a time: those of many processes lie far apart, and fetched one by
        // one each would wait for the one before it.
        let mut fetched: Vec<Entry> = Vec::with_capacity(FETCHED);
        for (at, &number) in order.iter().enumerate() {
            if at % FETCHED == 0 {
                fetched.clear();
                let numbers = order[at..].iter().take(FETCHED);
                let entries = numbers.map_while(|&number| history.entries().get(number as usize));
                fetched.extend(entries);
            }
            let Some(entry) = fetched.get(at % FETCHED) else {
                return Err(Refuted::Place(number));
            };
            if entry.outcome == Outcome::Fail || std::mem::replace(&mut placed[number as usize], true) {
                return Err(Refuted::Place(number));
            }
            if entry.ret < latest.1 {
                return Err(Refuted::RealTime { earlier: latest.0, later: number });
            }
            let previous = std::mem::replace(&mut last_of_process[entry.process as usize], number);
            if previous != NONE && previous > number {
                return Err(Refuted::RealTime { earlier: previous, later: number });
            }
            if latest.1 < entry.invoke {
                latest = (number, entry.invoke);
            }
            if !object.apply(history, model, (number, entry), initial_id) {
                return Err(Refuted::Answer(number));
            }
        }
        // Many keys must not cost as many tables, nor a long key a second walk over its entries.
        if order.len() > last_of_process.len() {
            last_of_process.fill(NONE);
        } else {
            for &number in order {
                last_of_process[history.entry(number).process as usize] = NONE;
            }
        }
    }
    let missing = (0_u32..).zip(history.entries()).find(|(number, entry)| {
        entry.outcome == Outcome::Ok
            && entry.ret != NEVER
            && !placed[*number as usize]
            && !history.is_raw(*number)
            && says_something(history, *number, model)
    });
    missing.map_or(Ok(()), |(number, _)| Err(Refuted::Place(number)))
}

/// Whether a model knows the operation at all.
fn says_something(history: &History, number: u32, model: Model) -> bool {
    let entry = history.entry(number);
    match model {
        Model::Register | Model::CasRegister => {
            matches!(entry.f(), Function::Get | Function::Put | Function::Delete | Function::Cas)
        }
        Model::MultiRegister => !history.steps_of(number).is_empty(),
        Model::Kv => matches!(entry.f(), Function::Get | Function::Put | Function::Append | Function::Delete),
        Model::Mutex => matches!(entry.f(), Function::Acquire | Function::Release),
        Model::Set => matches!(entry.f(), Function::Get | Function::Add),
        Model::Siblings => false,
    }
}

impl Object {
    /// Takes a step; false if its answer does not fit.
    fn apply(
        &mut self,
        history: &History,
        model: Model,
        (number, entry): (u32, &Entry),
        initial: Option<Id>,
    ) -> bool {
        let seen = history.values_in(entry);
        match model {
            Model::Register | Model::CasRegister => {
                let register = self.register.get_or_insert(initial);
                match entry.f {
                    Function::Get => match seen {
                        [] => register.is_none(),
                        [one] => *register == Some(*one),
                        _ => false,
                    },
                    Function::Put => {
                        *register = Some(entry.value);
                        true
                    }
                    Function::Delete => {
                        *register = None;
                        true
                    }
                    Function::Cas => {
                        let from = history.source_of(number);
                        // From null may mean "create it".
                        let creates = *history.value(from) == Value::Null && register.is_none();
                        let fits = *register == Some(from) || creates;
                        *register = Some(entry.value);
                        fits
                    }
                    _ => false,
                }
            }
            Model::MultiRegister => history.steps_of(number).iter().all(|step| {
                // What an open transaction would have read nobody was told.
                if step.f == Function::Get && entry.outcome != Outcome::Ok {
                    return true;
                }
                let register = self.registers.entry(step.key).or_insert(initial);
                if step.f == Function::Put {
                    *register = Some(step.value);
                    return true;
                }
                *register == Some(step.value)
                    || register.is_none() && *history.value(step.value) == Value::Null
            }),
            Model::Kv => match entry.f {
                Function::Get => match seen {
                    [] => self.text.is_none(),
                    [one] => match (history.value(*one), &self.text) {
                        (Value::Text(seen), Some(text)) => **seen == **text,
                        (other, Some(text)) => other.to_string() == *text,
                        (_, None) => false,
                    },
                    _ => false,
                },
                Function::Put => {
                    self.text = Some(history.value(entry.value).to_string());
                    true
                }
                Function::Append => {
                    let tail = history.value(entry.value).to_string();
                    self.text.get_or_insert_default().push_str(&tail);
                    true
                }
                Function::Delete => {
                    self.text = None;
                    true
                }
                _ => false,
            },
            Model::Mutex => match entry.f {
                Function::Acquire => !std::mem::replace(&mut self.held, true),
                Function::Release => std::mem::replace(&mut self.held, false),
                _ => false,
            },
            Model::Set => match entry.f {
                Function::Add => {
                    self.set.insert(entry.value, NONE);
                    true
                }
                Function::Get => {
                    let mut distinct = 0;
                    let known = seen.iter().all(|id| {
                        let shown = self.set.get_mut(id).map(|shown| std::mem::replace(shown, number));
                        distinct += usize::from(shown.is_some_and(|shown| shown != number));
                        shown.is_some()
                    });
                    known && distinct == self.set.len()
                }
                _ => false,
            },
            Model::Siblings => false,
        }
    }
}
