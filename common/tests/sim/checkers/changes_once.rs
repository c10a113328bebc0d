//! changes_once, position_monotonic: the source's transactions are in the target in their order,
//! each once, from P0 on, and the mark beside them says how far.

use common::state::Phase;

use crate::world::World;

pub fn check(world: &World) -> Option<String> {
    let changes = &world.target.changes;
    let broken = changes.windows(2).find(|pair| pair[1] != pair[0] + 1);
    if let Some(pair) = broken {
        return Some(format!("changes_once: {} came after {}", pair[1], pair[0]));
    }
    if let (Some(mark), Some(last)) = (world.target.mark, changes.last())
        && mark != *last
    {
        let what = format!("the mark is {mark}, {last} is the last change");
        return Some(format!("position_monotonic: {what}"));
    }
    None
}

/// Of a job that has ended well: all that was logged while it copied, and what it says it has.
pub fn at_the_end(world: &World) -> Option<String> {
    let (_, job) = world.cluster.state.jobs().next()?;
    if job.phase != Phase::Completed || !job.is_followed() {
        return None;
    }
    let (Some(secured), Some(followed)) = (&job.secured, &job.followed) else {
        return Some("changes_once: Completed without a position".to_owned());
    };
    let wanted = secured.position.order.1 + 1..=followed.position.order.1;
    let same = world.target.changes.iter().copied().eq(wanted.clone());
    (!same).then(|| {
        let found = (world.target.changes.first(), world.target.changes.last());
        format!("changes_once: {wanted:?} should be there, {found:?} is")
    })
}
