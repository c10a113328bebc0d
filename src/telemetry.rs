//! Logs: to stderr, never to stdout. `STERNA_LOG` chooses what (as in `info,openraft=warn`),
//! `STERNA_LOG_FORMAT=json` how.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::{Command, Global};

/// Starts logging for this process. Commands that people watch log warnings only, so that progress
/// isn't disturbed; servers tell what they do.
pub fn start(global: &Global, command: &Command) {
    let server = matches!(command, Command::Coordinator(_) | Command::Worker(_));
    let default = match (global.verbose, server, global.quiet) {
        (0, _, true) => "error,openraft=off,pgwire_replication=off",
        (0, true, false) => "info,openraft=warn,pgwire_replication=off",
        // What goes wrong there shows in the command's own error.
        (0, false, false) => "error,openraft=off,pgwire_replication=off",
        (1, ..) => "info,openraft=warn,pgwire_replication=off",
        _ => "debug,h2=info,hyper=info,tower=info",
    };
    let filter = EnvFilter::try_from_env("STERNA_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(color(global));
    let json = std::env::var("STERNA_LOG_FORMAT").is_ok_and(|format| format == "json");
    // A second start (in tests) keeps the first one's settings.
    let _ = match json {
        true => builder.json().try_init(),
        false => builder.try_init(),
    };
}

/// Whether stderr may be coloured.
pub fn color(global: &Global) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !global.no_color && !refused && std::io::stderr().is_terminal()
}
