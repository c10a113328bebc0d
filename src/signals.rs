//! Ctrl-C and SIGTERM: the first asks for a clean stop, the second leaves at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// What asked the process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Interrupt,
    Terminate,
}

impl Stop {
    /// The exit status of a process that was stopped so.
    pub fn exit(self) -> u8 {
        match self {
            Stop::Interrupt => 130,
            Stop::Terminate => 143,
        }
    }
}

/// Who wants to know of the first signal.
#[derive(Clone)]
pub struct Signals {
    first: watch::Receiver<Option<Stop>>,
}

impl Signals {
    /// The first signal; never returns without one.
    pub async fn stop(&mut self) -> Stop {
        match self.first.wait_for(Option::is_some).await.map(|stop| *stop) {
            Ok(Some(stop)) => stop,
            // The listener ends with the process only.
            _ => std::future::pending().await,
        }
    }

    /// For servers: the exit status once a signal came, or, if asked for, once stdin ended.
    pub async fn stop_or_stdin(&mut self, with_stdin: bool) -> u8 {
        tokio::select! {
            stop = self.stop() => stop.exit(),
            () = stdin_ends(), if with_stdin => 0,
        }
    }
}

/// Whoever started this process holds the other end: it ends with them, even by kill -9.
async fn stdin_ends() {
    let (ended, wait) = tokio::sync::oneshot::channel();
    // A thread of its own: a read that blocks for ever must not hold up the runtime's end.
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = [0; 64];
        while let Ok(1..) = io::Read::read(&mut stdin, &mut buffer) {}
        let _ = ended.send(());
    });
    let _ = wait.await;
}

/// Counts signals; owned and polled by `main`.
pub struct Listener {
    interrupt: Signal,
    terminate: Signal,
    first: watch::Sender<Option<Stop>>,
}

/// Takes the signals over from the system.
pub fn listen() -> io::Result<(Listener, Signals)> {
    let (sender, receiver) = watch::channel(None);
    let listener = Listener {
        interrupt: signal(SignalKind::interrupt())?,
        terminate: signal(SignalKind::terminate())?,
        first: sender,
    };
    Ok((listener, Signals { first: receiver }))
}

impl Listener {
    /// Hands the first signal on and returns at the second.
    pub async fn second(mut self) -> Stop {
        let first = self.next().await;
        self.first.send_replace(Some(first));
        self.next().await
    }

    async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Interrupt,
            _ = self.terminate.recv() => Stop::Terminate,
        }
    }
}
