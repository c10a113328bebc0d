//! The binary: reads the command line, starts the log, runs one command, ends with its status.

mod cli;
mod client;
mod commands;
mod embedded;
mod endpoint;
mod error;
mod files;
mod following;
mod html;
mod job;
mod output;
mod progress;
mod prove;
mod repair_plan;
mod report;
mod run;
mod signals;
mod state_dir;
mod telemetry;

use std::process::ExitCode;
use std::time::Duration;

use common::code::{Code, Failure};

fn main() -> ExitCode {
    let cli = match endpoint::parse_args() {
        Ok(cli) => cli,
        Err(status) => return ExitCode::from(status),
    };
    telemetry::start(&cli.global, &cli.command);
    let (output, color) = (cli.global.output, telemetry::color(&cli.global));
    let status = match run(cli) {
        Ok(status) => status,
        Err(failure) => {
            let status = failure.code.exit();
            error::report(&failure, status, output, color);
            status
        }
    };
    ExitCode::from(status)
}

fn run(cli: cli::Cli) -> error::Result<u8> {
    let failed = |error: std::io::Error| Failure::new(Code::Internal, error.to_string());
    let runtime = tokio::runtime::Runtime::new().map_err(failed)?;
    let result = runtime.block_on(async {
        let (listener, signals) = signals::listen().map_err(failed)?;
        tokio::select! {
            result = Box::pin(commands::run(cli, signals)) => result,
            stop = listener.second() => Ok(stop.exit()),
        }
    });
    // Threads that are stuck in a system call don't keep the process alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}
