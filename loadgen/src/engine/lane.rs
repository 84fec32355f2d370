//! Where a part of the load is made: its runtime, its connections, its pacer.
//!
//! A real load has lanes on threads of their own, each with a runtime of one thread: a slot that is due,
//! the connection it goes to and its histogram are then all in one place, nothing is locked against anybody
//! but the collector once a second, and no other work of the process comes between. A simulated load has
//! its lanes on the caller's runtime. Operations are dealt out by their number, so what is sent does not
//! depend on who is faster.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use quorate_env::{Clock, Pacer, RealPacer};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::target::Target;

/// One lane.
pub(super) struct Lane {
    /// Which one, from 0.
    pub(super) number: usize,
    /// Where its tasks run.
    pub(super) handle: Handle,
    /// The store, over connections that no other lane uses if the target can.
    pub(super) target: Arc<dyn Target>,
    /// There unless a dispatcher has it.
    pub(super) pacer: Option<Box<dyn Pacer>>,
    /// Last, so that it ends when nothing else needs it.
    _thread: Option<LaneThread>,
}

impl Lane {
    /// The only lane, on the caller's runtime.
    pub(super) fn here(target: &Arc<dyn Target>, pacer: Box<dyn Pacer>) -> Self {
        let (handle, target) = (Handle::current(), Arc::clone(target));
        Self { number: 0, handle, target, pacer: Some(pacer), _thread: None }
    }

    /// A lane on a thread of its own, on the machine's time.
    ///
    /// # Errors
    /// If the system gives no thread or no timer.
    pub(super) fn on_thread(
        number: usize,
        target: &Arc<dyn Target>,
        clock: &Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let (handle, thread) = LaneThread::start(number)?;
        let (pacer, target) = {
            let _inside = handle.enter();
            let own = target.for_thread().unwrap_or_else(|| Arc::clone(target));
            (RealPacer::new(Arc::clone(clock))?, own)
        };
        Ok(Self { number, handle, target, pacer: Some(Box::new(pacer)), _thread: Some(thread) })
    }

    /// This lane's part of `total`, as even as can be.
    pub(super) fn share(&self, total: usize, lanes: usize) -> usize {
        total / lanes + usize::from(self.number < total % lanes)
    }
}

/// A thread that runs a lane's tasks until this is dropped.
struct LaneThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LaneThread {
    fn start(number: usize) -> io::Result<(Handle, Self)> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name(format!("load-{number}")).spawn(move || {
            // Told to stop or forgotten: the same.
            let _ = runtime.block_on(stopped);
        })?;
        Ok((handle, Self { stop: Some(stop), thread: Some(thread) }))
    }
}

impl Drop for LaneThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A panic of a task was passed on where the task was awaited.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
