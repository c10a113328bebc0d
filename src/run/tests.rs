//! What a second run does about the first one's job.

use common::id::{JobId, Millis};
use common::state::SourceProof;
use common::status::{PartitionCounts, TableStatus, TaskCounts};

use common::job::{Endpoint, Purpose};
use common::verify::VerifyOptions;

use super::*;

fn spec(mode: TargetMode) -> JobSpec {
    let endpoint = |url: &str| Endpoint {
        url: url.to_owned(),
        password: None,
    };
    let mut spec = JobSpec::new("x", endpoint("sqlite:/a"), endpoint("sqlite:/b"));
    spec.target_mode = mode;
    spec
}

fn status(phase: Phase, intent: Intent, planned: bool) -> JobStatus {
    let table = TableStatus {
        name: "t".into(),
        target: "t".into(),
        cut: None,
        accepted: Vec::new(),
        rows_estimated: 1,
        bytes_estimated: 1,
        rows_copied: 0,
        bytes_copied: 0,
        rows_in_flight: 0,
        partitions: 1,
        partitions_committed: 0,
        indexed: false,
        verified: false,
        written_since: false,
        digest: String::new(),
    };
    JobStatus {
        verify: None,
        api_version: "v1".into(),
        job: "x".into(),
        id: JobId(1),
        uid: "1".repeat(32),
        phase,
        intent,
        source: "sqlite:/a".into(),
        target: "sqlite:/b".into(),
        submitted_at_ms: Millis(0),
        phase_since_ms: Millis(0),
        ended_at_ms: None,
        now_ms: Millis(1),
        tables: if planned { vec![table] } else { Vec::new() },
        partitions: PartitionCounts::default(),
        tasks: TaskCounts::default(),
        rows_copied: 0,
        bytes_copied: 0,
        rows_in_flight: 0,
        rows_estimated: 0,
        bytes_estimated: 0,
        verified: false,
        source_proof: SourceProof::Open,
        follow: None,
        limited_by: None,
        notes: Vec::new(),
        failure: None,
        exit_code: 0,
    }
}

#[test]
fn the_same_command_again_resumes() {
    let mode = TargetMode::RequireEmpty;
    assert_eq!(decide(None, false, &spec(mode)), Next::Submit);
    let copying = status(Phase::Copying, Intent::Run, true);
    assert_eq!(decide(Some(&copying), true, &spec(mode)), Next::Continue);
    let paused = status(Phase::Copying, Intent::Pause, true);
    assert_eq!(decide(Some(&paused), true, &spec(mode)), Next::Resume);
    let failed = status(Phase::Failed, Intent::Run, true);
    assert_eq!(decide(Some(&failed), true, &spec(mode)), Next::Resume);
    for ended in [Phase::Completed, Phase::Cancelled] {
        let ended = status(ended, Intent::Run, true);
        assert_eq!(decide(Some(&ended), true, &spec(mode)), Next::Submit);
    }
    let cancelling = status(Phase::Copying, Intent::Cancel, true);
    assert_eq!(decide(Some(&cancelling), true, &spec(mode)), Next::Replace);
}

#[test]
fn other_options_never_touch_a_half_done_target_unasked() {
    let failed = status(Phase::Failed, Intent::Run, false);
    let next = decide(Some(&failed), false, &spec(TargetMode::RequireEmpty));
    assert_eq!(next, Next::Replace, "nothing was changed yet");
    let half = status(Phase::Copying, Intent::Run, true);
    let refused = decide(Some(&half), false, &spec(TargetMode::Append));
    assert!(matches!(refused, Next::Refuse(f) if f.code == Code::WrongState));
    let anew = decide(Some(&half), false, &spec(TargetMode::Recreate));
    assert_eq!(anew, Next::Replace);
}

#[test]
fn wrong_rows_are_copied_again_when_asked() {
    let mut spoiled = status(Phase::Failed, Intent::Run, true);
    spoiled.failure = Some(Failure::new(Code::SourceChanged, "moved"));
    let anew = decide(Some(&spoiled), true, &spec(TargetMode::Recreate));
    assert_eq!(anew, Next::Replace);
    let again = decide(Some(&spoiled), true, &spec(TargetMode::RequireEmpty));
    assert_eq!(again, Next::Resume);
}

#[test]
fn a_half_done_comparison_with_other_options_is_begun_anew() {
    let mut verify = spec(TargetMode::RequireEmpty);
    verify.purpose = Purpose::Verify(VerifyOptions::default());
    let half = status(Phase::Verifying, Intent::Pause, true);
    assert_eq!(decide(Some(&half), false, &verify), Next::Replace);
    assert_eq!(decide(Some(&half), true, &verify), Next::Resume);
}
