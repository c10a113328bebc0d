//! `sterna operator`: the coordinators among themselves, and transactions in doubt.

use proto::v1;
use serde_json::Value;

use crate::cli::{Global, OperatorCommand, Output, RaftCommand, TxnCommand};
use crate::client::{Admin, Client};
use crate::error::Result;
use crate::output::{self, cell};

pub async fn run(command: OperatorCommand, client: &Client, global: &Global) -> Result<u8> {
    match command {
        OperatorCommand::Raft(command) => raft(command, client, global).await?,
        OperatorCommand::Txn(TxnCommand::List) => transactions(client, global).await?,
    }
    Ok(0)
}

async fn raft(command: RaftCommand, client: &Client, global: &Global) -> Result<()> {
    let (answer, done): (Value, String) = match command {
        RaftCommand::ListPeers => return peers(client, global).await,
        RaftCommand::AddPeer {
            name,
            address,
            learner,
        } => {
            let done = format!("peer/{name} added");
            let request = v1::AddPeerRequest {
                name,
                address,
                learner,
            };
            let ask = async |mut admin: Admin| admin.add_peer(request.clone()).await;
            (client.call(ask).await?, done)
        }
        RaftCommand::RemovePeer { name } => {
            let done = format!("peer/{name} removed");
            let request = v1::PeerRequest { name };
            let ask = async |mut admin: Admin| admin.remove_peer(request.clone()).await;
            (client.call(ask).await?, done)
        }
        RaftCommand::TransferLeader { to } => {
            let request = v1::PeerRequest {
                name: to.unwrap_or_default(),
            };
            let ask = async |mut admin: Admin| admin.transfer_leader(request.clone()).await;
            (client.call(ask).await?, "leadership handed over".to_owned())
        }
    };
    match global.output {
        Output::Json => output::json(&answer),
        Output::Table => {
            output::line(&done)?;
            output::note(global.quiet, "next: sterna operator raft list-peers");
            Ok(())
        }
    }
}

async fn peers(client: &Client, global: &Global) -> Result<()> {
    let answer: Value = client
        .call(async |mut admin: Admin| admin.list_peers(v1::Empty {}).await)
        .await?;
    if global.output == Output::Json {
        return output::json(&answer);
    }
    let peers = answer["peers"].as_array().cloned().unwrap_or_default();
    let columns = [
        ("NAME", "name"),
        ("ADDRESS", "address"),
        ("STATE", "state"),
        ("VOTER", "voter"),
        ("#TERM", "term"),
        ("#APPLIED", "applied"),
    ];
    output::line(&list(&peers, &columns))?;
    let is = |peer: &&Value, state: &str| peer["state"] == state;
    let reachable = { peers.iter() }.filter(|p| is(p, "leader") || is(p, "follower"));
    let voters = { peers.iter() }.filter(|p| !is(p, "learner")).count();
    let spare = reachable.count().saturating_sub(voters / 2 + 1);
    let note = format!("failure tolerance: {spare}");
    output::note(global.quiet, &note);
    Ok(())
}

async fn transactions(client: &Client, global: &Global) -> Result<()> {
    let answer: Value = client
        .call(async |mut admin: Admin| admin.list_transactions(v1::Empty {}).await)
        .await?;
    if global.output == Output::Json {
        return output::json(&answer);
    }
    let found = answer["transactions"].as_array().cloned();
    let found = found.unwrap_or_default();
    if found.is_empty() {
        output::note(global.quiet, "no transaction is prepared and undecided");
        return Ok(());
    }
    let columns = [
        ("JOB", "job"),
        ("PARTITION", "partition"),
        ("#EPOCH", "epoch"),
        ("STATE", "state"),
        ("WORKER", "worker"),
        ("#ROWS", "rows"),
    ];
    output::line(&list(&found, &columns))
}

/// A table of JSON objects: (header, key).
pub fn list(rows: &[Value], columns: &[(&str, &str)]) -> String {
    let headers: Vec<&str> = columns.iter().map(|(header, _)| *header).collect();
    let row = |row: &Value| columns.iter().map(|(_, key)| cell(row, key)).collect();
    output::table(&headers, rows.iter().map(row).collect())
}
