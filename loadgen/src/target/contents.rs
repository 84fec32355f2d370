//! What came back from a store, by the names that values bear.

use super::{CallError, Completion};
use crate::value::ValueId;

/// Looks at the values of a reply, and names them if `names` are wanted; returns the name of one that is
/// damaged, if there is one. A damaged value keeps its name with a mark, so that a checker sees a value
/// nobody wrote.
pub(super) fn inspect<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
    mut names: Option<&mut Vec<String>>,
) -> Option<String> {
    let mut damaged = None;
    for value in values {
        let id = ValueId::of(value);
        let whole = id.is_none_or(|id| id.is_whole(value));
        if !whole {
            damaged = id.map(|id| id.to_string());
        }
        if let Some(names) = &mut names {
            names.push(match id {
                Some(id) if whole => id.to_string(),
                Some(id) => format!("{id}!damaged"),
                // Someone else's value: a key that was there before, or put by hand.
                None => String::from_utf8_lossy(value).into_owned(),
            });
        }
    }
    damaged
}

/// Marks a get that returned damaged bytes of the value called `name`.
pub(super) fn mark_damaged(completion: &mut Completion, key_name: &str, name: &str) {
    let message = format!("a get of {key_name} returned damaged bytes of {name}");
    completion.error = Some(CallError { kind: "damaged-value".to_owned(), message });
}
