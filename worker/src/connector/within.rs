//! Deadlines that cost nothing where the answer is there already, as most rows of a stream are.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// As [`tokio::time::timeout`], but asks for the time only if it has to wait.
pub async fn within<F: Future>(deadline: Duration, answer: F) -> Result<F::Output, Elapsed> {
    let mut answer = pin!(answer);
    match futures::poll!(answer.as_mut()) {
        Poll::Ready(answer) => Ok(answer),
        Poll::Pending => timeout(deadline, answer).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_in_time_is_given_and_a_late_one_is_not() {
        let deadline = Duration::from_millis(1);
        assert_eq!(within(deadline, async { 1 }).await, Ok(1));
        let soon = async {
            tokio::task::yield_now().await;
            2
        };
        assert_eq!(within(Duration::from_secs(60), soon).await, Ok(2));
        let never = std::future::pending::<()>();
        assert!(within(deadline, never).await.is_err());
    }
}
