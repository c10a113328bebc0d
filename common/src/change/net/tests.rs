//! A net set does to a table what its changes do one by one; a naive map is the judge.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Key, a value that is always logged, one that may be left out.
type Rows = BTreeMap<u8, (u8, u8)>;

#[derive(Clone, Copy, Debug)]
enum Act {
    Insert(u8, u8, u8),
    /// Key, new key, value; the other value, or as it was.
    Update(u8, u8, u8, Option<u8>),
    Delete(u8),
    Truncate,
}

fn act() -> impl Strategy<Value = Act> {
    let key = 0..6u8;
    prop_oneof![
        6 => (key.clone(), any::<u8>(), any::<u8>()).prop_map(|(k, a, b)| Act::Insert(k, a, b)),
        9 => (key.clone(), 0..12u8, any::<u8>(), any::<Option<u8>>()).prop_map(|(k, to, a, b)| {
            // Mostly the same key.
            Act::Update(k, if to < 6 { to } else { k }, a, b)
        }),
        4 => key.prop_map(Act::Delete),
        1 => Just(Act::Truncate),
    ]
}

fn cell(value: u8) -> Option<Box<[u8]>> {
    Some(Box::from([value]))
}

fn row(key: u8, a: u8, b: u8) -> Row {
    vec![cell(key), cell(a), cell(b)]
}

/// What the log has of an act.
type Logged = (Op, Option<Row>, Option<Row>, Vec<u32>);

/// The change as the log has it, if it is a valid one for `rows`, which then have it.
fn happen(rows: &mut Rows, act: Act) -> Option<Logged> {
    match act {
        Act::Truncate => {
            rows.clear();
            Some((Op::Truncate, None, None, Vec::new()))
        }
        Act::Insert(key, a, b) if !rows.contains_key(&key) => {
            rows.insert(key, (a, b));
            Some((Op::Insert, None, Some(row(key, a, b)), Vec::new()))
        }
        Act::Delete(key) => {
            let (a, b) = rows.remove(&key)?;
            Some((Op::Delete, Some(row(key, a, b)), None, Vec::new()))
        }
        Act::Update(key, to, a, b) if key == to || !rows.contains_key(&to) => {
            let (old_a, old_b) = rows.remove(&key)?;
            rows.insert(to, (a, b.unwrap_or(old_b)));
            let (new, unchanged) = match b {
                Some(b) => (row(to, a, b), vec![]),
                None => (vec![cell(to), cell(a), None], vec![2]),
            };
            Some((
                Op::Update,
                Some(row(key, old_a, old_b)),
                Some(new),
                unchanged,
            ))
        }
        _ => None,
    }
}

fn first(cell: &Option<Vec<u8>>) -> u8 {
    cell.as_ref().map_or(0, |cell| cell[0])
}

/// What a target does with a set; the keys of patches that found nothing.
fn apply(rows: &mut Rows, net: &NetChanges) -> Vec<u8> {
    if net.truncate {
        rows.clear();
    }
    for key in net.deletes.cells() {
        let gone = rows.remove(&key.expect("a key")[0]);
        assert!(gone.is_some() || !net.strict, "a delete finds its row");
    }
    let cells: Vec<u8> = net.inserts.cells().map(|c| c.expect("a cell")[0]).collect();
    for new in cells.chunks(3) {
        let was = rows.insert(new[0], (new[1], new[2]));
        assert!(
            was.is_none(),
            "an insert finds no row: the keys are deleted before"
        );
    }
    let mut missed = Vec::new();
    for patch in &net.patches {
        let Some((mut a, mut b)) = rows.remove(&patch.key[0][0]) else {
            assert!(!net.strict, "a patch finds its row");
            missed.push(patch.key[0][0]);
            continue;
        };
        let mut key = patch.key[0][0];
        for (column, cell) in &patch.cells {
            match column {
                0 => key = first(cell),
                1 => a = first(cell),
                _ => b = first(cell),
            }
        }
        let was = rows.insert(key, (a, b));
        assert!(was.is_none(), "a patch moves onto no row");
    }
    missed
}

proptest! {
    #[test]
    fn a_strict_set_is_its_changes_one_by_one(
        acts in prop::collection::vec(act(), 1..60),
        cuts in prop::collection::vec(1..20usize, 1..6),
    ) {
        let (mut source, mut target) = (Rows::new(), Rows::new());
        let mut net = Net::new(TableNo(0), 3, vec![0], true);
        let mut cuts = cuts.into_iter().cycle();
        let mut left = cuts.next().unwrap_or(1);
        for act in acts {
            let Some((op, old, new, unchanged)) = happen(&mut source, act) else {
                continue;
            };
            if !net.add(op, old.clone(), new.clone(), &unchanged).expect("valid") {
                apply(&mut target, &net.take());
                prop_assert!(net.add(op, old, new, &unchanged).expect("valid"));
            }
            left -= 1;
            if left == 0 {
                apply(&mut target, &net.take());
                prop_assert_eq!(&target, &source);
                left = cuts.next().unwrap_or(1);
            }
        }
        apply(&mut target, &net.take());
        prop_assert!(net.is_empty());
        prop_assert_eq!(target, source);
    }

    /// Each row was copied at a moment of its own; then everything is replayed over it.
    #[test]
    fn a_replay_over_newer_rows_ends_as_the_source(
        acts in prop::collection::vec(act(), 1..60),
        moments in prop::collection::vec(0..60usize, 6),
        cut in 1..20usize,
    ) {
        let (mut source, mut target) = (Rows::new(), Rows::new());
        let mut log = Vec::new();
        for act in acts {
            for (key, moment) in (0u8..).zip(&moments) {
                if *moment == log.len() {
                    let now = source.get(&key);
                    target.remove(&key);
                    target.extend(now.map(|now| (key, *now)));
                }
            }
            log.extend(happen(&mut source, act));
        }
        // Those whose moment never came are copied at the end.
        for (key, moment) in (0u8..).zip(&moments) {
            if *moment >= log.len() {
                target.remove(&key);
                target.extend(source.get(&key).map(|now| (key, *now)));
            }
        }
        let hand_on = |target: &mut Rows, net: &mut Net| {
            for key in apply(target, &net.take()) {
                // Read again, as it is at the source by now.
                target.extend(source.get(&key).map(|now| (key, *now)));
            }
        };
        let mut net = Net::new(TableNo(0), 3, vec![0], false);
        for (no, (op, old, new, unchanged)) in log.into_iter().enumerate() {
            if !net.add(op, old.clone(), new.clone(), &unchanged).expect("valid") {
                hand_on(&mut target, &mut net);
                prop_assert!(net.add(op, old, new, &unchanged).expect("valid"));
            }
            if no % cut == 0 {
                hand_on(&mut target, &mut net);
            }
        }
        hand_on(&mut target, &mut net);
        prop_assert_eq!(target, source);
    }
}

#[test]
fn what_can_not_follow_is_a_contradiction() {
    let mut net = Net::new(TableNo(0), 3, vec![0], true);
    net.add(Op::Insert, None, Some(row(1, 1, 1)), &[])
        .expect("the first");
    let twice = net.add(Op::Insert, None, Some(row(1, 2, 2)), &[]);
    assert_eq!(twice.expect_err("there already").what, "a second insert");
    net.add(Op::Delete, Some(row(1, 1, 1)), None, &[])
        .expect("it is there");
    let gone = net.add(Op::Delete, Some(row(1, 1, 1)), None, &[]);
    assert_eq!(gone.expect_err("gone already").what, "a second delete");
}

#[test]
fn rows_without_a_key_are_counted() {
    let mut net = Net::new(TableNo(0), 3, Vec::new(), true);
    for _ in 0..3 {
        net.add(Op::Insert, None, Some(row(1, 1, 1)), &[])
            .expect("valid");
    }
    net.add(Op::Delete, Some(row(1, 1, 1)), None, &[])
        .expect("valid");
    net.add(Op::Delete, Some(row(2, 2, 2)), None, &[])
        .expect("valid");
    net.add(Op::Update, Some(row(3, 3, 3)), Some(row(3, 3, 3)), &[])
        .expect("valid");
    let taken = net.take();
    assert_eq!((taken.inserts.rows(), taken.deletes.rows()), (2, 1));
    assert!(taken.deletes.cells().all(|cell| cell == Some(&[2][..])));
}
