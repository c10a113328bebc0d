//! Damaged state directories: bits that flipped, files that were cut, zeroed, swapped or lost. A
//! coordinator that starts on one either refuses by name, or has exactly what was acknowledged.
//!
//! `FLIPS=2000 cargo test --workspace --test disk` tries more places. The directories are those of a
//! stopped coordinator and of a running one (as a crash leaves them, with everything synced).

mod directory;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use directory::{Original, Outcome, classify, copy, rng};
use tokio::sync::Semaphore;

/// Of each of the four files.
const FLIPS: u64 = 60;
const AT_ONCE: usize = 8;

fn flips() -> u64 {
    let given = std::env::var("FLIPS").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(FLIPS)
}

/// Applies `damage` to a copy, for every number, and returns what became of each.
async fn each(
    original: &Arc<Original>,
    numbers: std::ops::Range<u64>,
    damage: impl Fn(&Path, u64) -> String,
) -> Vec<(String, Outcome)> {
    let (slots, mut runs) = (Arc::new(Semaphore::new(AT_ONCE)), Vec::new());
    for number in numbers {
        let slot = slots.clone().acquire_owned().await.expect("open");
        let dir = tempfile::tempdir().expect("a directory");
        copy(&original.dir, dir.path());
        let what = damage(dir.path(), number);
        let original = original.clone();
        runs.push(tokio::spawn(async move {
            let outcome = classify(&original, dir.path()).await;
            drop(slot);
            (what, outcome)
        }));
    }
    let mut outcomes = Vec::new();
    for run in runs {
        outcomes.push(run.await.expect("no panic"));
    }
    outcomes
}

/// Prints how many were refused, and fails for any that was served although it is not the same.
fn judge(name: &str, outcomes: &[(String, Outcome)]) -> u64 {
    let count = |wanted: &dyn Fn(&Outcome) -> bool| {
        outcomes
            .iter()
            .filter(|(_, outcome)| wanted(outcome))
            .count() as u64
    };
    let refused = count(&|outcome| matches!(outcome, Outcome::Refused(_)));
    let equal = count(&|outcome| matches!(outcome, Outcome::Equal));
    println!("{name}: {refused} refused, {equal} had everything");
    let wrong: Vec<String> = outcomes
        .iter()
        .filter_map(|(what, outcome)| match outcome {
            Outcome::Wrong(why) => Some(format!("{what}: {why}")),
            Outcome::Refused(_) | Outcome::Equal => None,
        })
        .collect();
    assert!(wrong.is_empty(), "{name}: {}", wrong.join("\n"));
    refused
}

fn flip(file: &Path, bit: u64) -> String {
    let mut bytes = std::fs::read(file).expect("read");
    let bit = bit % (bytes.len() as u64 * 8);
    bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
    std::fs::write(file, bytes).expect("written");
    format!("{} bit {} of byte {}", file.display(), bit % 8, bit / 8)
}

/// A place that holds something: most of a file of this store is zeros.
fn used_bit(file: &Path, number: u64) -> u64 {
    let bytes = std::fs::read(file).expect("read");
    let mut random = rng(number);
    loop {
        let at = random() % bytes.len() as u64;
        if bytes[at as usize] != 0 {
            return at * 8 + random() % 8;
        }
    }
}

const FILES: [&str; 2] = ["log.redb", "snapshot.redb"];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_flipped_bit_is_served() {
    for original in [Original::stopped().await, Original::running().await] {
        let original = Arc::new(original);
        for file in FILES {
            let damage = |dir: &Path, number: u64| {
                let file = dir.join(file);
                let bit = used_bit(&file, number);
                flip(&file, bit)
            };
            let outcomes = each(&original, 0..flips(), damage).await;
            let refused = judge(&format!("{} {file}, any bit", original.kind), &outcomes);
            assert!(refused > 0, "no damage was noticed at all");
        }
    }
}

/// The first bytes say where everything is, and which of two commits is the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_flipped_bit_of_a_header_is_served() {
    for original in [Original::stopped().await, Original::running().await] {
        let original = Arc::new(original);
        for file in FILES {
            // The flags' byte whole, of the others every eleventh bit.
            let damage = |dir: &Path, number: u64| {
                let bit = if number < 8 {
                    72 + number
                } else {
                    (number - 8) * 11
                };
                flip(&dir.join(file), bit)
            };
            let outcomes = each(&original, 0..8 + 320 * 8 / 11, damage).await;
            judge(&format!("{} {file}, its header", original.kind), &outcomes);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_cut_or_zeroed_file_is_served() {
    for original in [Original::stopped().await, Original::running().await] {
        let original = Arc::new(original);
        for file in FILES {
            let cut = |dir: &Path, number: u64| {
                let (path, mut random) = (dir.join(file), rng(number));
                let length = std::fs::metadata(&path).expect("a file").len();
                let kept = if number == 0 { 0 } else { random() % length };
                let opened = std::fs::File::options().write(true).open(&path);
                opened.and_then(|f| f.set_len(kept)).expect("cut");
                format!("{file} cut to {kept} of {length}")
            };
            let outcomes = each(&original, 0..flips() / 4, cut).await;
            judge(&format!("{} {file}, cut", original.kind), &outcomes);
            let zero = |dir: &Path, number: u64| {
                let path = dir.join(file);
                let mut bytes = std::fs::read(&path).expect("read");
                let page = (used_bit(&path, number) / 8 / 4096 * 4096) as usize;
                let end = bytes.len().min(page + 4096);
                bytes[page..end].fill(0);
                std::fs::write(&path, bytes).expect("written");
                format!("{file} without the page at {page}")
            };
            let outcomes = each(&original, 0..flips() / 4, zero).await;
            judge(
                &format!("{} {file}, a page zeroed", original.kind),
                &outcomes,
            );
        }
    }
}

/// Files that are whole, and don't belong together.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn files_that_do_not_belong_together_are_named() {
    let original = Arc::new(Original::stopped().await);
    let older = original.older.clone();
    let lose = |file: &'static str| move |dir: &Path| std::fs::remove_file(dir.join(file));
    let old = |file: &'static str| {
        let from = older.join(file);
        move |dir: &Path| std::fs::copy(&from, dir.join(file)).map(drop)
    };
    type Damage = Box<dyn Fn(&Path) -> std::io::Result<()>>;
    let cases: [(&str, Damage, &str); 3] = [
        ("a lost log", Box::new(lose("log.redb")), "log.redb"),
        (
            "a lost snapshot",
            Box::new(lose("snapshot.redb")),
            "log.redb",
        ),
        (
            "a snapshot of last week",
            Box::new(old("snapshot.redb")),
            "log.redb",
        ),
    ];
    for (what, damage, named) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        copy(&original.dir, dir.path());
        damage(dir.path()).expect("damaged");
        match classify(&original, dir.path()).await {
            Outcome::Refused(why) => assert!(why.contains(named), "{what}: {why}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

/// What a refusal says: the file, what is wrong with it, and what to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_file_and_the_way_out() {
    let original = Original::stopped().await;
    let dir = tempfile::tempdir().expect("a directory");
    copy(&original.dir, dir.path());
    let file: PathBuf = dir.path().join("log.redb");
    std::fs::write(&file, b"not a database").expect("written");
    let Outcome::Refused(why) = classify(&original, dir.path()).await else {
        panic!("it was served");
    };
    assert!(why.contains("log.redb"), "{why}");
    assert!(why.contains("damaged"), "{why}");
    assert!(why.contains("remove the directory"), "{why}");
}

/// Room for a slow machine; an election of one takes 0.3 s.
pub const START_DEADLINE: Duration = Duration::from_secs(30);
