//! Where the server stands: its identity and the position in its write-ahead log. Equal marks mean
//! that nothing was written between them; background work moves them too, which only costs a
//! second reading.

use common::schema::SourceMark;

use super::error::Failed;
use super::session::Session;

pub async fn mark(session: &mut Session) -> Result<Option<SourceMark>, Failed> {
    // Positions of two servers, or of two timelines of one, can't be compared.
    let identity = session
        .cell(
            "SELECT system_identifier::text || '/' || timeline_id::text \
             FROM pg_catalog.pg_control_system(), pg_catalog.pg_control_checkpoint()",
        )
        .await;
    let position = match session.facts.in_recovery {
        true => "SELECT pg_catalog.pg_last_wal_replay_lsn()::text",
        // Where the next record goes; what is written but not flushed counts as well.
        false => "SELECT pg_catalog.pg_current_wal_insert_lsn()::text",
    };
    let position = session.cell(position).await;
    Ok(match (identity, position) {
        (Ok(Some(identity)), Ok(Some(position))) => {
            Some(SourceMark(format!("{identity}/{position}")))
        }
        // A connection that broke is an error, a function that may not be called is not.
        (Err(failed), _) | (_, Err(failed)) if failed.is_fatal() => return Err(failed),
        _ => None,
    })
}
