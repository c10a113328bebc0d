//! heals: once faults have stopped, the job ends.

use crate::world::World;

pub fn heals(world: &World) -> Option<String> {
    let (_, job) = world.cluster.state.jobs().next()?;
    let stages: Vec<_> = job
        .partitions()
        .iter()
        .map(|partition| format!("{} {:?}", partition.epoch, partition.stage))
        .collect();
    Some(format!(
        "heals: the job is {} {:?} with {stages:?}, failure {:?}",
        job.phase, job.intent, job.failure
    ))
}
