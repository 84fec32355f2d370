//! Small numbers for values, so that checkers compare and index numbers.

use std::collections::HashMap;

use super::error::LineError;
use super::value::Value;

/// The number of a value, in order of first appearance.
pub(crate) type Id = u32;

/// Numbers values. The map is only ever asked, never walked, so its order does not matter.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    ids: HashMap<Value, Id>,
    values: Vec<Value>,
}

impl Interner {
    pub(crate) fn id(&mut self, value: &Value) -> Result<Id, LineError> {
        if let Some(&id) = self.ids.get(value) {
            return Ok(id);
        }
        // The last number is kept free: it means "none".
        let id =
            Id::try_from(self.values.len()).ok().filter(|&id| id < Id::MAX - 1).ok_or(LineError::TooLarge)?;
        self.ids.insert(value.clone(), id);
        self.values.push(value.clone());
        Ok(id)
    }

    pub(crate) fn find(&self, value: &Value) -> Option<Id> {
        self.ids.get(value).copied()
    }

    pub(crate) fn value(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }
}
