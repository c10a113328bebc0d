//! Where a request is answered: here if this coordinator leads, else at the leader, one hop at
//! most. Waits a little for a leader, because clients call while one is being elected.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::FORWARDED_KEY;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code as Grpc, Request, Status};

use crate::raft::Role;
use crate::shared::{Shared, no_leader};

/// How long a client waits for a leader to be found.
const LEADER_DEADLINE: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(100);
/// A forwarded request's own deadline: longer than a proposal's.
const FORWARD_DEADLINE: Duration = Duration::from_secs(20);

/// Keeps the one connection to the present leader.
#[derive(Clone)]
pub(crate) struct Route {
    shared: Shared,
    leader: Arc<Mutex<Option<(String, Channel)>>>,
}

impl Route {
    pub fn new(shared: Shared) -> Route {
        Route {
            shared,
            leader: Arc::default(),
        }
    }

    /// Answers `request` by `here` on the leader, by `there` elsewhere. A try that ended because
    /// leadership moved is repeated: every request may be repeated.
    pub async fn answer<Q, A, Here, There>(
        &self,
        request: Request<Q>,
        here: impl Fn(Q) -> Here,
        there: impl Fn(Channel, Request<Q>) -> There,
    ) -> Result<A, Status>
    where
        Q: Clone,
        Here: Future<Output = Result<A, Status>>,
        There: Future<Output = Result<A, Status>>,
    {
        let forwarded = request.metadata().contains_key(FORWARDED_KEY);
        let message = request.into_inner();
        let deadline = Instant::now() + LEADER_DEADLINE;
        loop {
            let role = self.shared.role();
            let answer = if role.leading {
                here(message.clone()).await
            } else if forwarded {
                return Err(no_leader("this coordinator doesn't lead"));
            } else {
                match self.channel(&role) {
                    Ok(channel) => there(channel, forward(message.clone())).await,
                    Err(status) => Err(status),
                }
            };
            match answer {
                Err(status) if moved(&status) && Instant::now() < deadline => {}
                Err(status) if status.code() == Grpc::Unavailable => {
                    return Err(match proto::failure_of(&status) {
                        Some(_) => status,
                        None => no_leader(status.message()),
                    });
                }
                answer => return answer,
            }
            let mut changes = self.shared.consensus.role();
            let next_try = deadline.min(Instant::now() + RETRY);
            tokio::select! {
                () = self.shared.stop.cancelled() => return Err(no_leader("it is stopping")),
                _ = timeout_at(next_try, changes.changed()) => sleep(RETRY / 10).await,
            }
        }
    }

    /// A connection to the leader, made when it is first used.
    fn channel(&self, role: &Role) -> Result<Channel, Status> {
        let Some(leader) = &role.leader else {
            return Err(no_leader("no leader is known here"));
        };
        let mut cached = self.leader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((address, channel)) = &*cached
            && *address == leader.address
        {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{}", leader.address))
            .map_err(|error| no_leader(&format!("{}: {error}", leader.address)))?
            .connect_timeout(Duration::from_secs(1))
            .timeout(FORWARD_DEADLINE);
        let channel = endpoint.connect_lazy();
        *cached = Some((leader.address.clone(), channel.clone()));
        Ok(channel)
    }
}

/// The leader is gone, or was none: no word about the request itself.
fn moved(status: &Status) -> bool {
    status.code() == Grpc::Unavailable
}

fn forward<Q>(message: Q) -> Request<Q> {
    let mut request = Request::new(message);
    let yes = MetadataValue::from_static("1");
    request.metadata_mut().insert(FORWARDED_KEY, yes);
    request
}
