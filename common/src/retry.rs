//! The only retry policy: exponential, capped, spread by a seed so that a thousand partitions that
//! failed together don't come back together.

const FIRST_MS: u64 = 200;
const CAP_MS: u64 = 10_000;

/// Wait before attempt `attempt + 1`, in milliseconds: 200, 400, 800, … 10,000, plus or minus a
/// quarter. `seed` only spreads; the same arguments give the same wait.
pub fn wait_ms(attempt: u16, seed: u64) -> u64 {
    let doubled = FIRST_MS << u32::from(attempt.saturating_sub(1)).min(16);
    let base = doubled.min(CAP_MS);
    let spread = crate::partition::hash_bucket(seed, u32::from(attempt), 0) % (base / 2);
    base - base / 4 + spread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_bounded() {
        for seed in 0..50 {
            for attempt in 0..100 {
                let wait = wait_ms(attempt, seed);
                assert!(
                    (FIRST_MS * 3 / 4..=CAP_MS * 5 / 4).contains(&wait),
                    "{attempt} {wait}"
                );
            }
            assert!(wait_ms(8, seed) > wait_ms(1, seed));
        }
    }
}
