//! What only the two ends together show, or the machine around them.

use std::time::{SystemTime, UNIX_EPOCH};

use common::check::{Check, End};
use common::code::Code;
use common::job::Endpoint;
use common::schema::TableSchema;

use crate::connector::{Connector, Result};

/// Lag is told in seconds by both clocks.
const CLOCKS_APART_MAX_MS: i64 = 2_000;
/// Rows, indexes, and the log of what is written.
const SPACE_FACTOR: u64 = 3;

/// How far the clocks of both ends are apart.
pub async fn clock_difference(source: &dyn Connector, target: &dyn Connector) -> Check {
    const NAME: &str = "clock-difference";
    let (at_source, at_target) = tokio::join!(ahead_ms(source), ahead_ms(target));
    let apart = match (at_source, at_target) {
        (Ok(one), Ok(two)) => (one - two).abs(),
        (Err(error), _) => return super::failed(NAME, End::Source, &error),
        (_, Err(error)) => return super::failed(NAME, End::Target, &error),
    };
    let seconds = apart as f64 / 1_000.0;
    let found = format!("{seconds:.1} s");
    if apart <= CLOCKS_APART_MAX_MS {
        return Check::passed(NAME, End::Both, found);
    }
    Check::warning(NAME, End::Both, Code::CheckFound, found)
        .means("lag is wrong by so much, and so is what either server calls now; rows are not")
        .fix("-- let both machines take their time from one server: timedatectl set-ntp true")
}

/// How far a server's clock is ahead of ours, as seen half way between question and answer.
async fn ahead_ms(end: &dyn Connector) -> Result<i64> {
    let before = now_us();
    let there = end.machine().await?.clock_us;
    let middle = before + (now_us() - before) / 2;
    Ok(there.map_or(0, |there| (there - middle) / 1_000))
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(0))
}

/// Whether the target's disk has room for the tables. None: its connector says so itself.
pub async fn space(
    target: &dyn Connector,
    endpoint: &Endpoint,
    tables: &[TableSchema],
) -> Option<Check> {
    const NAME: &str = "space";
    let machine = match target.machine().await {
        Ok(machine) => machine,
        Err(error) => return Some(super::failed(NAME, End::Target, &error)),
    };
    machine.clock_us?;
    let wanted = tables.iter().map(|table| table.bytes_estimate);
    let wanted_mib = (wanted.sum::<u64>() * SPACE_FACTOR).div_ceil(1 << 20);
    let directory = machine.directory.filter(|_| is_here(endpoint));
    let stat = directory.and_then(|at| Some((rustix::fs::statvfs(&*at).ok()?, at)));
    let Some((stat, directory)) = stat else {
        let found = format!("about {wanted_mib} MiB are needed; what is free can't be asked here");
        return Some(Check::passed(NAME, End::Target, found));
    };
    let free_mib = stat.f_bavail.saturating_mul(stat.f_frsize) >> 20;
    let found = format!("{free_mib} MiB are free in {directory}, about {wanted_mib} are needed");
    if free_mib >= wanted_mib {
        return Some(Check::passed(NAME, End::Target, found));
    }
    let check = Check::warning(NAME, End::Target, Code::TargetFull, found);
    let means = "rows, indexes and the server's log may not fit: the job would stop at a full disk";
    Some(
        check
            .means(means)
            .fix(format!("-- make {wanted_mib} MiB free in {directory}")),
    )
}

/// Whether the server runs on this machine, as its URL says it.
fn is_here(endpoint: &Endpoint) -> bool {
    let url = url::Url::parse(&endpoint.url).ok();
    let host = url.as_ref().and_then(|url| url.host_str());
    host.is_none_or(|host| ["localhost", "127.0.0.1", "[::1]"].contains(&host))
}
