//! What the worker knows of jobs: fetched from the leader when a unit first needs it, kept while
//! the job has units here. Waits out a leader change, up to a deadline.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::code::Code;
use common::directive::JobContext;
use common::id::{JobId, JobUid};
use common::limits;
use proto::v1;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::transport::Channel;

use crate::connector::{Error, Result};
use crate::dial;

const ATTEMPT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// Cache of contexts by job; the session hands in the channel to the leader it has now.
pub struct Contexts {
    cache: Mutex<BTreeMap<(JobId, JobUid), Arc<JobContext>>>,
    /// Held while one is fetched, so that eight units of a new job ask once.
    fetching: tokio::sync::Mutex<()>,
    leader: watch::Receiver<Option<Channel>>,
}

impl Contexts {
    pub fn new(leader: watch::Receiver<Option<Channel>>) -> Contexts {
        Contexts {
            cache: Mutex::new(BTreeMap::new()),
            fetching: tokio::sync::Mutex::new(()),
            leader,
        }
    }

    /// The job's context; with `planned`, one that has a plan.
    pub async fn get(&self, job: JobId, uid: &JobUid, planned: bool) -> Result<Arc<JobContext>> {
        let deadline = Instant::now() + Duration::from_millis(limits::CONTEXT_DEADLINE_MS);
        let late = |_| {
            let what = format!("no coordinator handed out {job}'s description in time");
            Error::transient(Code::NoLeader, what)
        };
        if let Some(known) = self.known(job, uid, planned) {
            return Ok(known);
        }
        let turn = timeout_at(deadline, self.fetching.lock());
        let _turn = turn.await.map_err(late)?;
        if let Some(known) = self.known(job, uid, planned) {
            return Ok(known);
        }
        let fetched = timeout_at(deadline, self.fetch(job, uid, planned));
        let context = Arc::new(fetched.await.map_err(late)??);
        self.cache()
            .insert((job, uid.clone()), Arc::clone(&context));
        Ok(context)
    }

    /// V of a job: its target, as far as this worker knows it.
    pub fn resource(&self, job: JobId, uid: &JobUid) -> String {
        let known = self.known(job, uid, false);
        known
            .map(|context| context.spec.target.url.clone())
            .unwrap_or_default()
    }

    /// Drops what no unit needs any more.
    pub fn keep_only(&self, jobs: &BTreeSet<JobId>) {
        self.cache().retain(|(job, _), _| jobs.contains(job));
    }

    fn known(&self, job: JobId, uid: &JobUid, planned: bool) -> Option<Arc<JobContext>> {
        let cache = self.cache();
        let known = cache.get(&(job, uid.clone()))?;
        (known.plan.is_some() || !planned).then(|| Arc::clone(known))
    }

    fn cache(&self) -> MutexGuard<'_, BTreeMap<(JobId, JobUid), Arc<JobContext>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self, job: JobId, uid: &JobUid, planned: bool) -> Result<JobContext> {
        let mut leader = self.leader.clone();
        loop {
            let channel = match leader.wait_for(Option::is_some).await {
                Ok(channel) => channel.clone(),
                Err(_) => {
                    let what = "this worker is stopping";
                    return Err(Error::transient(Code::NoLeader, what));
                }
            };
            let Some(channel) = channel else { continue };
            let request = v1::FetchJobRequest {
                job: job.0,
                job_uid: uid.to_string(),
            };
            let answer = timeout(ATTEMPT, dial::client(channel).fetch_job(request)).await;
            match answer {
                Ok(Ok(reply)) => {
                    let bytes = reply.into_inner().context;
                    let context: JobContext = proto::from_json("context", &bytes)
                        .map_err(|error| Error::permanent(Code::Internal, error.to_string()))?;
                    if context.plan.is_some() || !planned {
                        return Ok(context);
                    }
                }
                Ok(Err(status)) if status.code() == tonic::Code::NotFound => {
                    let what = format!("the leader does not know {job}");
                    return Err(Error::transient(Code::NoSuchJob, what));
                }
                Ok(Err(status)) => tracing::debug!(%job, %status, "context not fetched"),
                Err(_) => tracing::debug!(%job, "context not fetched in time"),
            }
            sleep(PAUSE).await;
        }
    }
}
