//! Notices panics in simulated tasks. A task that panics ends quietly, and a node that lost one of
//! its tasks may go on half-alive; a run must not pass for one that was judged.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic;
use std::sync::Once;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
    static AT_MS: Cell<u64> = const { Cell::new(0) };
}

/// What `panic!` was given: text, unless somebody panicked with a value of their own.
fn message(payload: &dyn Any) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

static HOOK: Once = Once::new();

/// While it lives, panics on this thread are kept instead of printed.
pub(super) struct PanicWatch(());

impl PanicWatch {
    pub(super) fn begin() -> Self {
        HOOK.call_once(|| {
            let previous = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                if !WATCHED.with(Cell::get) {
                    previous(info);
                    return;
                }
                FIRST.with_borrow_mut(|first| {
                    first.get_or_insert_with(|| {
                        let at = info
                            .location()
                            .map(|l| format!(" at {}:{}", l.file(), l.line()))
                            .unwrap_or_default();
                        let what = message(info.payload());
                        format!("{what}{at}")
                    });
                });
            }));
        });
        FIRST.with_borrow_mut(|first| *first = None);
        AT_MS.set(0);
        WATCHED.set(true);
        Self(())
    }

    pub(super) fn first(&self) -> Option<String> {
        FIRST.with_borrow(Clone::clone)
    }

    pub(super) fn set_time(&self, at_ms: u64) {
        AT_MS.set(at_ms);
    }

    pub(super) fn at_ms(&self) -> u64 {
        AT_MS.get()
    }
}

impl Drop for PanicWatch {
    fn drop(&mut self) {
        WATCHED.set(false);
    }
}
