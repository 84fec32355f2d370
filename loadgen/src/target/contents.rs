//! What came back from a store, by the names that values bear.

use super::{CallError, Completion};
use crate::value::ValueId;

/// Names the values of a reply; returns the name of one that is damaged, if there is one. A
/// damaged value keeps its name with a mark, so that a checker sees a value nobody wrote.
pub(super) fn inspect<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
    names: &mut Vec<String>,
) -> Option<String> {
    let mut damaged = None;
    let mut scratch = Vec::new();
    for value in values {
        match ValueId::of(value) {
            Some(id) if id.is_whole(value, &mut scratch) => names.push(id.to_string()),
            Some(id) => {
                names.push(format!("{id}!damaged"));
                damaged = Some(id.to_string());
            }
            // Someone else's value: a key that was there before, or put by hand.
            None => names.push(String::from_utf8_lossy(value).into_owned()),
        }
    }
    damaged
}

/// Marks a get that returned damaged bytes of the value called `name`.
pub(super) fn mark_damaged(completion: &mut Completion, key_name: &str, name: &str) {
    let message = format!("a get of {key_name} returned damaged bytes of {name}");
    completion.error = Some(CallError { kind: "damaged-value".to_owned(), message });
}
