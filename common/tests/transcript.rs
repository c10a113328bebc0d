//! Runs `scripts/*.txt`: commands, a line `----`, what they printed. `UPDATE=1 cargo test` writes
//! the files anew; read the difference before you commit it.

mod model;

use common::change::FollowMode;
use common::code::{Code, ErrorClass, Failure};
use common::detect::Health;
use common::directive::{Order, directives};
use common::id::{PartitionNo, WorkerId};
use common::job::Purpose;
use common::state::{Command, EventKind, Intent, Stage, State, TaskStage};
use common::task::{TaskKind, TaskResult};
use common::verify::VerifyOptions;
use model::{JOB, Model, line};

#[test]
fn scripts_print_what_they_say() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut scripts: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").path())
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    for path in scripts {
        let text = std::fs::read_to_string(&path).expect("readable");
        let printed = run_script(&text);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &printed).expect("writable");
            continue;
        }
        assert_eq!(printed, text, "{}", path.display());
    }
}

/// Replays a script and returns it with its blocks' output as it is now.
fn run_script(text: &str) -> String {
    let mut model: Option<Model> = None;
    let mut printed = String::new();
    for block in text.split("\n\n").map(str::trim_end) {
        if !block.contains("\n----") {
            printed += &format!("{block}\n\n");
            continue;
        }
        let (commands, _) = block.split_once("\n----").expect("checked above");
        printed += &format!("{commands}\n----\n");
        for command in commands.lines().filter(|line| !line.starts_with('#')) {
            for output in run(&mut model, command) {
                printed += &format!("{output}\n");
            }
        }
        printed.push('\n');
    }
    printed.truncate(printed.trim_end().len());
    printed + "\n"
}

fn run(slot: &mut Option<Model>, command: &str) -> Vec<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    if words[0] == "cluster" {
        *slot = Some(Model::new(words[1] == "durable"));
        return Vec::new();
    }
    let model = slot
        .as_mut()
        .expect("a script begins with `cluster durable|held`");
    match words.as_slice() {
        ["log" | "follow" | "verify" | "small", ..] => {
            before_submit(model, words.as_slice());
            Vec::new()
        }
        ["written", table] => {
            model.log_end += 1;
            model.touched.push(number(table));
            Vec::new()
        }
        ["events"] => {
            let followed = |event: &common::state::Event| match &event.kind {
                EventKind::Secured { position } => Some(format!("secured {position}")),
                EventKind::Followed { position, .. } => Some(format!("followed to {position}")),
                EventKind::CompletionAsked => Some("completion asked".to_owned()),
                EventKind::JobFailed { failure } => Some(failure.to_string()),
                _ => None,
            };
            model.state.events_after(0).filter_map(followed).collect()
        }
        ["submit", name] => vec![outcome(model.submit(name))],
        ["join", name, slots] => {
            vec![
                model
                    .join(name, slots.parse().expect("a number"))
                    .to_string(),
            ]
        }
        ["silent", worker] => {
            model.set_health(WorkerId(number(worker)), Health::Lost);
            Vec::new()
        }
        ["after", ms] => {
            model.view.now = model.view.now.plus(ms.parse().expect("a number"));
            Vec::new()
        }
        ["turn"] => model.turn().iter().map(line).collect(),
        ["turns"] => {
            let turns = std::iter::from_fn(|| Some(model.turn()).filter(|turn| !turn.is_empty()));
            turns.flatten().map(|command| line(&command)).collect()
        }
        ["directives", worker] => shown_directives(&model.state, WorkerId(number(worker))),
        ["state"] => shown_state(&model.state),
        words => {
            let command = said(model, words);
            vec![outcome(model.apply(command))]
        }
    }
}

/// Whether the source's log can be followed, and what the job is for.
fn before_submit(model: &mut Model, words: &[&str]) {
    match words {
        ["log", "usable"] => model.log = Some(common::change::LogFacts::Usable),
        ["follow", "live"] => model.asked = |spec| spec.follow = FollowMode::Live,
        ["follow", "from"] => {
            model.asked = |spec| {
                spec.follow = FollowMode::Live;
                spec.from = Some("log:1".to_owned());
            }
        }
        ["verify"] => {
            model.asked = |spec| spec.purpose = Purpose::Verify(VerifyOptions::default());
        }
        ["small", "partitions"] => {
            model.asked = |spec| (spec.partition_bytes, spec.bucket_bytes) = (40, 40);
        }
        _ => panic!("nothing that a job can be asked for: {words:?}"),
    }
}

/// What a worker or a user says, as the command it becomes.
fn said(model: &Model, words: &[&str]) -> Command {
    match words {
        ["prepared", partition, epoch] => {
            let lease = model.partition_lease(number(partition), number(epoch));
            let loaded = Model::loaded(PartitionNo(number(partition)));
            Command::RecordPrepared { lease, loaded }
        }
        ["committed", partition, epoch, "of", committed] => {
            let lease = model.partition_lease(number(partition), number(epoch));
            let committed = common::epoch::Epoch(number(committed));
            Command::RecordCommitted { lease, committed }
        }
        ["failed", partition, epoch, class] => {
            let lease = match partition.starts_with('t') {
                true => model.lease_of_task(number(partition), number(epoch)),
                false => model.partition_lease(number(partition), number(epoch)),
            };
            let class = match *class {
                "transient" => ErrorClass::Transient,
                "fenced" => ErrorClass::Fenced,
                _ => ErrorClass::Permanent,
            };
            let failure = Failure::new(Code::TargetRejected, "duplicate key");
            Command::RecordFailed {
                lease,
                class,
                failure,
            }
        }
        ["task", task, epoch, word] => {
            let lease = model.lease_of_task(number(task), number(epoch));
            let kind = model.state.job(JOB).and_then(|job| {
                job.tasks()
                    .find(|(no, _)| no.0 == number(task))
                    .map(|(_, task)| task.kind.clone())
            });
            let kind = kind.expect("there is such a task");
            let mut result = model.honest(&kind, *word != "moved");
            if let (TaskResult::Compared(compared), "differs" | "busy") = (&mut result, *word) {
                compared.at_target.rows += 1;
                compared.written_since = *word == "busy";
            }
            if let (TaskResult::Followed(mark), "back") = (&mut result, *word) {
                mark.position = model::position(0);
            }
            if let (TaskResult::Examined(found), "differs") = (&mut result, *word) {
                found.at_source.rows = 3;
                found.at_target.rows = 2;
                found.counts.missing = 1;
            }
            if let (TaskResult::Digested(digest), "differs") = (&mut result, *word) {
                digest.sum += 1;
            }
            Command::RecordTask { lease, result }
        }
        ["complete"] => Command::Complete { job: JOB },
        ["intent", word] => {
            let intent = match *word {
                "run" => Intent::Run,
                "pause" => Intent::Pause,
                _ => Intent::Cancel,
            };
            Command::SetIntent { job: JOB, intent }
        }
        _ => panic!("no command: {words:?}"),
    }
}

/// The digits at a word's end: `p3`, `e2`, `w1`, `t0`.
fn number(word: &str) -> u32 {
    word.trim_start_matches(|c: char| c.is_ascii_alphabetic())
        .parse()
        .expect("a number")
}

fn outcome(answer: Result<common::state::Applied, common::state::Rejected>) -> String {
    match answer {
        Ok(_) => "ok".to_owned(),
        Err(rejected) => format!("rejected: {rejected}"),
    }
}

fn shown_directives(state: &State, worker: WorkerId) -> Vec<String> {
    let wanted = directives(state, worker)
        .into_iter()
        .map(|directive| match directive.order {
            Order::Prepare { spec, decided } => {
                let ranges = spec.ranges.len();
                let decided =
                    decided.map_or(String::new(), |epoch| format!(", {epoch} was decided"));
                format!(
                    "{} prepare {} ({ranges} ranges){decided}",
                    directive.lease, spec.table
                )
            }
            Order::Commit => format!("{} commit", directive.lease),
            Order::Run { task } => format!("{} run {}", directive.lease, task.name()),
        });
    wanted.collect()
}

fn shown_state(state: &State) -> Vec<String> {
    let job = state.job(JOB).expect("submitted");
    let mut lines = vec![format!(
        "{} {:?} redone {}",
        job.phase, job.intent, job.redone
    )];
    // A followed job is about its tasks.
    let partitions = match job.is_followed() {
        true => &[],
        false => job.partitions(),
    };
    for (no, partition) in (0u32..).zip(partitions) {
        let stage = match &partition.stage {
            Stage::Waiting => "waiting".to_owned(),
            Stage::Leased {
                worker,
                decided: None,
            } => format!("leased {worker}"),
            Stage::Leased {
                worker,
                decided: Some(decided),
            } => {
                format!("leased {worker}, {} is to be committed", decided.txn)
            }
            Stage::Prepared { worker, .. } => format!("prepared {}", owner(*worker)),
            Stage::Committing { worker, decided } => {
                format!("committing {} by {}", decided.txn, owner(*worker))
            }
            Stage::Committed { txn, .. } => format!("committed {txn}"),
        };
        lines.push(format!("p{no} {} {stage}", partition.epoch));
    }
    for (no, task) in job.tasks() {
        let stage = match task.stage {
            TaskStage::Waiting { .. } => "waiting".to_owned(),
            TaskStage::Leased { worker } => format!("leased {worker}"),
            TaskStage::Done => continue,
            TaskStage::Dropped => continue,
        };
        let to = match &task.kind {
            TaskKind::Follow { to, .. } => format!(" {to:?}"),
            TaskKind::Compare { table, .. } => format!(" {table}"),
            _ => String::new(),
        };
        let name = task.kind.name();
        lines.push(format!("{no} {} {name}{to} {stage}", task.epoch));
    }
    for (table, verdict) in job.verdicts.iter().enumerate() {
        let (done, ranges) = (verdict.ranges_done, verdict.ranges);
        let (one, two) = (verdict.at_source.rows, verdict.at_target.rows);
        let missing = verdict.counts.missing;
        lines.push(format!(
            "table{table}: {done} of {ranges} ranges, {one} and {two} rows, {missing} missing"
        ));
    }
    lines
}

fn owner(worker: Option<WorkerId>) -> String {
    worker.map_or("nobody".to_owned(), |worker| worker.to_string())
}
