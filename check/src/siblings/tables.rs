//! What the checks of one key look up by value, operation or process, and when they must end.

use std::collections::HashMap;

use crate::deadline::Deadline;
use crate::history::{History, Id, NONE};
use crate::linearizable::machine::spread;

/// Tables as long as the history, handed from key to key so that many keys cost no many tables.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// By value: the write.
    pub(super) of_value: Vec<u32>,
    /// By operation: the write that it is.
    pub(super) of_op: Vec<u32>,
    pub(super) marks: Marks,
    /// By process: its last operation on the key so far.
    pub(super) last: Vec<u32>,
    /// By process and by name, their sessions on the key so far; and by operation.
    pub(super) session_of_process: Vec<u32>,
    pub(super) session_of_name: HashMap<Id, u32>,
    pub(super) session: Vec<u32>,
    pub(super) deadline: Deadline,
}

impl Tables {
    pub(crate) fn new(history: &History, deadline: &Deadline) -> Self {
        Tables {
            of_value: vec![NONE; history.value_count()],
            of_op: vec![NONE; history.entries().len()],
            marks: Marks { of_value: vec![0; history.value_count()], mark: 0 },
            last: vec![NONE; history.process_count()],
            session_of_process: vec![NONE; history.process_count()],
            session_of_name: HashMap::new(),
            session: vec![NONE; history.entries().len()],
            deadline: deadline.clone(),
        }
    }
}

/// Tells lists of values apart as sets.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// By value: the last list that it was seen in.
    of_value: Vec<u32>,
    mark: u32,
}

impl Marks {
    /// A list of values as a set.
    pub(crate) fn listed(&mut self, values: &[Id]) -> Listed {
        self.mark = self.mark.wrapping_add(1);
        let mut listed = Listed { hash: 0, twice: false };
        for &value in values {
            let mark = &mut self.of_value[value as usize];
            if *mark == self.mark && values.len() > 1 {
                listed.twice = true;
            } else {
                *mark = self.mark;
                listed.hash = listed.hash.wrapping_add(spread(u64::from(value)));
            }
        }
        listed
    }
}

/// A list of values as a set: equal for equal sets, whatever their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) hash: u128,
    /// A value stands in the list more than once.
    pub(crate) twice: bool,
}
