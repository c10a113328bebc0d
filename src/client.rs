//! Talks to the cluster: to whichever coordinator answers, with a deadline. A request that may
//! have been heard is sent again only because every admin request is repeatable.

use std::time::Duration;

use common::code::{Code, Failure};
use common::job::JobSpec;
use common::limits::{CONNECT_DEADLINE_MS, MESSAGE_BYTES_MAX};
use common::status::{JobStatus, JobsStatus};
use proto::v1;
use proto::v1::admin_client::AdminClient;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status, Streaming};

use crate::error::Result;

/// One coordinator's admin service.
pub type Admin = AdminClient<Channel>;

/// An answer that no coordinator gave so far is waited for this long; a leader may have died.
const NO_LEADER_DEADLINE: Duration = Duration::from_secs(15);
/// Shorter: an address where nobody listens is most likely a wrong one.
const UNREACHABLE_DEADLINE: Duration = Duration::from_secs(4);
const REQUEST_DEADLINE: Duration = Duration::from_millis(CONNECT_DEADLINE_MS);
const ROUND_PAUSE: Duration = Duration::from_millis(150);

/// The coordinators of one cluster.
pub struct Client {
    peers: Vec<(String, Admin)>,
}

/// One failed attempt.
enum Attempt {
    /// Worth another one.
    Again(Failure),
    Final(Failure),
}

impl Client {
    /// Connects lazily: a wrong address shows with the first request.
    pub fn new(addresses: &[String]) -> Result<Client> {
        let mut peers = Vec::new();
        for address in addresses {
            let url = match address.contains("://") {
                true => address.clone(),
                false => format!("http://{address}"),
            };
            let wrong = |error| {
                let what = format!("{address:?} is not an address (HOST:PORT): {error}");
                Failure::new(Code::Usage, what)
            };
            let endpoint = Endpoint::from_shared(url).map_err(wrong)?;
            let channel = endpoint
                .connect_timeout(Duration::from_secs(2))
                .connect_lazy();
            let admin = AdminClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
            peers.push((address.clone(), admin));
        }
        Ok(Client { peers })
    }

    /// Asks one coordinator after the other until one answers.
    pub async fn call<T: DeserializeOwned>(
        &self,
        ask: impl AsyncFn(Admin) -> std::result::Result<Response<v1::JsonReply>, Status>,
    ) -> Result<T> {
        let reply = self.try_each(&ask).await?.into_inner();
        proto::from_json("answer", &reply.json)
            .map_err(|error| Failure::new(Code::Internal, error.to_string()))
    }

    async fn try_each<R>(
        &self,
        ask: &impl AsyncFn(Admin) -> std::result::Result<Response<R>, Status>,
    ) -> Result<Response<R>> {
        let started = Instant::now();
        loop {
            let mut last = Failure::new(Code::NoCoordinator, "no address was given");
            for (address, admin) in &self.peers {
                let deadline = Instant::now() + REQUEST_DEADLINE;
                let status = match timeout_at(deadline, ask(admin.clone())).await {
                    Ok(Ok(response)) => return Ok(response),
                    Ok(Err(status)) => status,
                    Err(_) => Status::deadline_exceeded("no answer in time"),
                };
                match judge(address, &status) {
                    Attempt::Final(failure) => return Err(failure),
                    // Somebody being there tells more than somebody being absent.
                    Attempt::Again(failure) if last.code != Code::NoLeader => last = failure,
                    Attempt::Again(_) => {}
                }
            }
            let patience = match last.code {
                Code::NoLeader => NO_LEADER_DEADLINE,
                _ => UNREACHABLE_DEADLINE,
            };
            if started.elapsed() >= patience {
                return Err(last);
            }
            sleep(ROUND_PAUSE).await;
        }
    }

    pub async fn job(&self, name: &str) -> Result<JobStatus> {
        let job = name.to_owned();
        self.call(async |mut admin: Admin| {
            let job = job.clone();
            admin.get_job(v1::GetJobRequest { job }).await
        })
        .await
    }

    /// The job as it was submitted.
    pub async fn spec(&self, name: &str) -> Result<JobSpec> {
        let job = name.to_owned();
        self.call(async |mut admin: Admin| {
            let job = job.clone();
            admin.get_spec(v1::GetJobRequest { job }).await
        })
        .await
    }

    pub async fn jobs(&self) -> Result<JobsStatus> {
        self.call(async |mut admin: Admin| admin.list_jobs(v1::Empty {}).await)
            .await
    }

    /// None if there is no job of that name.
    pub async fn find_job(&self, name: &str) -> Result<Option<JobStatus>> {
        match self.job(name).await {
            Ok(status) => Ok(Some(status)),
            Err(failure) if failure.code == Code::NoSuchJob => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// `uid` makes a repeated request the same job.
    pub async fn submit(&self, spec: &JobSpec, uid: &str) -> Result<serde_json::Value> {
        let request = v1::SubmitJobRequest {
            spec: proto::to_json(spec),
            uid: uid.to_owned(),
        };
        self.call(async |mut admin: Admin| admin.submit_job(request.clone()).await)
            .await
    }

    pub async fn set_intent(&self, job: &str, intent: &str) -> Result<serde_json::Value> {
        let request = v1::SetIntentRequest {
            job: job.to_owned(),
            intent: intent.to_owned(),
        };
        self.call(async |mut admin: Admin| admin.set_intent(request.clone()).await)
            .await
    }

    /// Events as JSON, one a message.
    pub async fn events(&self, request: v1::EventsRequest) -> Result<Streaming<v1::JsonReply>> {
        let response = self
            .try_each(&async |mut admin: Admin| admin.events(request.clone()).await)
            .await?;
        Ok(response.into_inner())
    }
}

/// A random job uid: 32 hex digits.
pub fn new_uid() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

/// What a refused or lost request means.
pub fn failure_of(address: &str, status: &Status) -> Failure {
    match judge(address, status) {
        Attempt::Again(failure) | Attempt::Final(failure) => failure,
    }
}

fn judge(address: &str, status: &Status) -> Attempt {
    if let Some(failure) = proto::failure_of(status) {
        return match failure.code {
            Code::NoLeader | Code::NoCoordinator => Attempt::Again(failure),
            _ => Attempt::Final(failure),
        };
    }
    let what = format!("{address}: {}", status.message());
    match status.code() {
        tonic::Code::Unavailable
        | tonic::Code::DeadlineExceeded
        | tonic::Code::Cancelled
        | tonic::Code::Unknown => Attempt::Again(Failure::new(Code::NoCoordinator, what)),
        tonic::Code::FailedPrecondition => Attempt::Again(Failure::new(Code::NoLeader, what)),
        tonic::Code::Unimplemented => Attempt::Final(Failure::new(Code::NotBuilt, what)),
        _ => Attempt::Final(Failure::new(Code::Internal, what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_inside_the_status_wins() {
        let failure = Failure::new(Code::NoSuchJob, "no job \"x\"");
        let status = proto::status_of(tonic::Code::NotFound, &failure);
        assert_eq!(failure_of("c1", &status), failure);
        let lost = failure_of("c1:1", &Status::unavailable("refused"));
        assert_eq!(lost.code, Code::NoCoordinator);
    }

    #[tokio::test]
    async fn nobody_there_is_said_with_the_address() {
        // Port 1 of the loopback: nobody listens there.
        let client = Client::new(&["127.0.0.1:1".to_owned()]).expect("an address");
        let failure = client.job("x").await.expect_err("nobody answers");
        assert_eq!(failure.code, Code::NoCoordinator);
        assert!(failure.what.contains("127.0.0.1:1"), "{failure}");
    }
}
