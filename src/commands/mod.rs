//! One file per verb.

mod apply;
mod check;
mod clone;
mod completions;
mod coordinator;
mod demo;
mod docs;
mod events;
mod explain;
mod intent;
mod jobs;
mod node;
mod operator;
mod plan;
mod repair;
mod status;
mod verify;
mod wait;
mod worker;

use crate::cli::{Cli, Command, EXIT_CODES};
use crate::client::Client;
use crate::error::Result;
use crate::output;
use crate::signals::Signals;

/// Runs the command; its exit status.
pub async fn run(cli: Cli, signals: Signals) -> Result<u8> {
    let Cli { global, command } = cli;
    let client = || Client::new(&global.cluster);
    match command {
        Command::Clone(args) => Box::pin(clone::run(args, None, &global, signals)).await,
        Command::Follow(args) => {
            let from = Some(args.from.as_str());
            Box::pin(clone::run(args.clone, from, &global, signals)).await
        }
        Command::Plan(args) => Box::pin(plan::run(args, &global, signals)).await,
        Command::Check(args) => Box::pin(check::run(args, &global, signals)).await,
        Command::Verify(args) => Box::pin(verify::run(args, &global, signals)).await,
        Command::Repair(args) => Box::pin(repair::run(args, &global, signals)).await,
        Command::Demo(args) => Box::pin(demo::run(args, &global, signals)).await,
        Command::Coordinator(args) => Box::pin(coordinator::run(args, signals)).await,
        Command::Worker(args) => Box::pin(worker::run(args, signals)).await,
        Command::Apply(args) => apply::run(args, &client()?, &global, signals).await,
        Command::Jobs => jobs::run(&client()?, &global).await,
        Command::Status(args) => status::run(args, &client()?, &global, signals).await,
        Command::Wait(args) => wait::run(args, &client()?, &global, signals).await,
        Command::Events(args) => events::run(args, &client()?, &global, signals).await,
        Command::Pause(arg) => intent::run(&arg.job, "pause", &client()?, &global).await,
        Command::Resume(arg) => intent::run(&arg.job, "run", &client()?, &global).await,
        Command::Complete(arg) => intent::run(&arg.job, "complete", &client()?, &global).await,
        Command::Cancel(arg) => intent::run(&arg.job, "cancel", &client()?, &global).await,
        Command::Operator(command) => operator::run(command, &client()?, &global).await,
        Command::Node(command) => node::run(command, &client()?, &global).await,
        Command::Explain(args) => explain::run(args.code.as_deref(), &global),
        Command::Completions { shell } => completions::script(shell),
        Command::Man { dir } => completions::man(dir.as_deref()),
        Command::Version => version(&global),
        Command::ExitCodes => output::line(EXIT_CODES).map(|()| 0),
        Command::Docs(args) => docs::run(&args),
    }
}

fn version(global: &crate::cli::Global) -> Result<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let api = common::status::API_VERSION;
    match global.output {
        crate::cli::Output::Json => {
            output::json(&serde_json::json!({"api_version": api, "version": version}))?;
        }
        crate::cli::Output::Table => output::line(&format!("sterna {version} (api {api})"))?,
    }
    Ok(0)
}
