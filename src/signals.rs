//! Waits for someone to ask this process to stop.

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

/// For commands that only compute: Ctrl-C and SIGTERM end the process with the exit code for
/// "interrupted", saying `farewell`.
pub fn leave_on_interrupt(farewell: &'static str) {
    let wait = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        let interrupted = runtime.block_on(async {
            let Ok(mut interrupts) = Interrupts::listen() else { return false };
            interrupts.wait().await;
            true
        });
        if interrupted {
            say(farewell);
            std::process::exit(Exit::Unknown.code().into());
        }
    };
    std::thread::spawn(wait);
}
