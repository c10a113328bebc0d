//! A crash at any step: work that is dropped after so many polls, in the middle of whatever it does.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Polls `work` at most `polls` times; None = it was cut off.
pub async fn cut<F: Future>(polls: usize, work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    let mut left = polls;
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left <= 1 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}
