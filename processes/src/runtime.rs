//! The runtime that a server's process runs on.

use std::io;
use std::num::NonZeroU16;

use tokio::runtime::{Builder, Runtime};

/// A runtime with so many threads for the server's work, as many as the machine has cores where nothing is
/// said. With one thread the work is done on the caller's: a node alone on its thread wakes nobody.
///
/// # Errors
/// If the system has no more threads or descriptors to give.
pub fn server_runtime(threads: Option<NonZeroU16>) -> io::Result<Runtime> {
    let mut runtime = match threads.map(NonZeroU16::get) {
        Some(1) => Builder::new_current_thread(),
        Some(threads) => {
            let mut runtime = Builder::new_multi_thread();
            runtime.worker_threads(threads.into());
            runtime
        }
        None => Builder::new_multi_thread(),
    };
    runtime.enable_all().build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use tokio::runtime::RuntimeFlavor;

    #[test]
    fn one_thread_is_the_callers_and_more_are_as_many_as_said() {
        let one = server_runtime(NonZeroU16::new(1)).unwrap();
        assert_eq!(one.handle().runtime_flavor(), RuntimeFlavor::CurrentThread);
        let three = server_runtime(NonZeroU16::new(3)).unwrap();
        assert_eq!(three.handle().runtime_flavor(), RuntimeFlavor::MultiThread);
        assert_eq!(three.metrics().num_workers(), 3);
        let all = server_runtime(None).unwrap();
        assert_eq!(all.handle().runtime_flavor(), RuntimeFlavor::MultiThread);
    }
}
