//! `sterna coordinator`: one member of the cluster, until a signal.

use common::code::{Code, Failure};
use common::limits::Limits;
use coordinator::CoordinatorConfig;

use crate::cli::CoordinatorArgs;
use crate::embedded;
use crate::error::Result;
use crate::output;
use crate::signals::Signals;

pub async fn run(args: CoordinatorArgs, mut signals: Signals) -> Result<u8> {
    let exit_with_stdin = args.exit_with_stdin;
    let coordinator = { coordinator::start(config(args)?).await }.map_err(|e| e.failure())?;
    let http = coordinator.http_address().map(|http| http.to_string());
    let grpc = coordinator.grpc_address().to_string();
    output::line(&listening(Some(grpc), http))?;
    let end = tokio::select! {
        status = signals.stop_or_stdin(exit_with_stdin) => Ok(status),
        // Whoever started it can make space and start it again; the others go on without it.
        failure = embedded::failed(&coordinator) => Err(failure),
    };
    // Leadership is handed over first: no election has to time out.
    coordinator.shutdown().await;
    end
}

fn config(args: CoordinatorArgs) -> Result<CoordinatorConfig> {
    if args.name.is_empty() || args.name.len() > 64 {
        let what = "--name must have 1 to 64 characters";
        return Err(Failure::new(Code::Usage, what));
    }
    let usual = Limits::default();
    Ok(CoordinatorConfig {
        name: args.name,
        data_dir: args.data_dir,
        listen: args.listen,
        advertise: args.advertise,
        http: args.http,
        join: args.join,
        bootstrap_expect: args.bootstrap_expect,
        limits: Limits {
            lease_ms: args.lease_ms.unwrap_or(usual.lease_ms),
            reconnect_ms: args.reconnect_ms.unwrap_or(usual.reconnect_ms),
            attempts_max: args.attempts_max.unwrap_or(usual.attempts_max),
            ..usual
        },
        snapshot_every: args.snapshot_every,
    })
}

/// The line that scripts read: `listening grpc=HOST:PORT http=HOST:PORT`.
pub fn listening(grpc: Option<String>, http: Option<String>) -> String {
    let mut line = "listening".to_owned();
    for (name, address) in [("grpc", grpc), ("http", http)] {
        if let Some(address) = address {
            line.push_str(&format!(" {name}={address}"));
        }
    }
    line
}
