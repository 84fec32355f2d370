//! Waits for someone to ask this process to stop, or to look at its files again.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::outcome::{Exit, say};

/// Ctrl-C and SIGTERM, from the moment this is made.
pub struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Takes over both signals: from now on they no longer end the process by themselves.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Returns at the next of them.
    pub async fn wait(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// SIGHUP, from the moment this is made: it no longer ends the process, but is for [`Hangups::each`].
pub struct Hangups(Signal);

impl Hangups {
    /// Takes over the signal.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Acts on each of them, for as long as this is polled.
    pub async fn each(mut self, act: impl Fn()) {
        while self.0.recv().await.is_some() {
            act();
        }
    }
}

/// For commands that only compute: from the return of this on, Ctrl-C and SIGTERM end the process
/// with the exit code for "interrupted", saying `farewell`.
pub fn leave_on_interrupt(farewell: &'static str) {
    let (listening, ready) = std::sync::mpsc::channel::<()>();
    let wait = async move {
        let mut interrupts = Interrupts::listen()?;
        drop(listening);
        interrupts.wait().await;
        say(farewell);
        std::process::exit(Exit::Unknown.code().into())
    };
    std::thread::spawn(move || -> std::io::Result<()> {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(wait)
    });
    // Nothing is ever sent: it ends when the other side is dropped, with or without success.
    // Without, signals end the process as they always do.
    let _ = ready.recv();
}
