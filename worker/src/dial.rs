//! Finds the leader: asks the coordinators, follows their hints, waits between rounds. Knows
//! nothing of units. All candidates are asked at once, so a dead machine costs nothing while
//! another one answers.

use std::time::Duration;

use common::limits;
use common::partition::hash_bucket;
use proto::v1;
use proto::v1::worker_client::WorkerClient;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::WatchStream;
use tonic::transport::{Channel, Endpoint};

const BACKOFF_FIRST_MS: u64 = 25;
/// Hints followed at once; two coordinators that point to each other must not make a busy loop.
const HINTS_AT_ONCE: u32 = 3;

/// A session with a leader.
pub struct Link {
    pub address: String,
    pub channel: Channel,
    /// The newest report; older ones that were not sent yet are of no interest.
    pub reports: watch::Sender<v1::Report>,
    pub directives: tonic::Streaming<v1::Directives>,
}

/// Whom to ask next.
pub struct Dialer {
    known: Vec<String>,
    following: Option<String>,
    avoided: Option<String>,
    failures: u32,
    seed: u64,
}

/// One round: wait, then ask all of `candidates`.
#[derive(Debug, PartialEq, Eq)]
pub struct Round {
    pub wait: Duration,
    pub candidates: Vec<String>,
}

impl Dialer {
    pub fn new(known: Vec<String>, seed: u64) -> Dialer {
        Dialer {
            known,
            following: None,
            avoided: None,
            failures: 0,
            seed,
        }
    }

    /// The first round after a start or a lost session.
    pub fn first(&mut self) -> Round {
        self.following = None;
        Round {
            wait: self.backoff(),
            candidates: self.everyone(),
        }
    }

    /// The leader was heard: the next loss starts afresh.
    pub fn heard(&mut self) {
        self.failures = 0;
        self.avoided = None;
    }

    /// `address` speaks for an older term: ask the others first.
    pub fn avoid(&mut self, address: &str) {
        self.failures += 1;
        self.avoided = Some(address.to_owned());
    }

    /// Nobody led; `hint` is where a coordinator says the leader is.
    pub fn failed(&mut self, hint: Option<String>) -> Round {
        self.failures += 1;
        match hint {
            Some(leader) if self.following.as_ref() != Some(&leader) => {
                self.learn(&leader);
                let wait = match self.failures {
                    ..=HINTS_AT_ONCE => Duration::ZERO,
                    _ => self.backoff(),
                };
                self.following = Some(leader.clone());
                Round {
                    wait,
                    candidates: vec![leader],
                }
            }
            _ => self.first(),
        }
    }

    fn learn(&mut self, address: &str) {
        let full = self.known.len() >= limits::COORDINATORS_KNOWN_MAX;
        if !full && !self.known.iter().any(|known| known == address) {
            self.known.push(address.to_owned());
        }
    }

    fn everyone(&mut self) -> Vec<String> {
        let avoided = self.avoided.take();
        let others = self
            .known
            .iter()
            .filter(|known| Some(*known) != avoided.as_ref());
        let others: Vec<String> = others.cloned().collect();
        if others.is_empty() {
            return self.known.clone();
        }
        others
    }

    /// 25 ms, doubled up to the cap, plus or minus a quarter; none before the first attempt.
    fn backoff(&self) -> Duration {
        let Some(doublings) = self.failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        let base = (BACKOFF_FIRST_MS << doublings.min(16)).min(limits::ATTEND_BACKOFF_CAP_MS);
        let spread = hash_bucket(self.seed, self.failures, 0) % (base / 2);
        Duration::from_millis(base - base / 4 + spread)
    }
}

/// One round; the first coordinator that takes the worker in wins. An error carries a hint.
pub async fn dial(round: Round, report: v1::Report) -> Result<Link, Option<String>> {
    sleep(round.wait).await;
    let mut asked = JoinSet::new();
    for address in &round.candidates {
        asked.spawn(attend(address.clone(), report.clone()));
    }
    let mut hint = None;
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok(Ok(link)) => return Ok(*link),
            Ok(Err(Some(leader))) if !round.candidates.contains(&leader) => {
                return Err(Some(leader));
            }
            Ok(Err(leader)) => hint = hint.or(leader),
            Err(_) => {}
        }
    }
    Err(hint)
}

async fn attend(address: String, report: v1::Report) -> Result<Box<Link>, Option<String>> {
    let deadline = Duration::from_millis(limits::ATTEND_DEADLINE_MS);
    let Ok(endpoint) = endpoint(&address) else {
        return Err(None);
    };
    let opening = async {
        let channel = endpoint.connect().await.map_err(|_| None::<String>)?;
        let (reports, newest) = watch::channel(report);
        let answer = client(channel.clone())
            .attend(WatchStream::new(newest))
            .await;
        let directives = answer.map_err(|status| leader_of(&status))?.into_inner();
        Ok::<_, Option<String>>((channel, reports, directives))
    };
    let Ok(opened) = timeout(deadline, opening).await else {
        tracing::debug!(address, "the coordinator does not answer");
        return Err(None);
    };
    let (channel, reports, directives) = opened?;
    Ok(Box::new(Link {
        address,
        channel,
        reports,
        directives,
    }))
}

fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    let silence = Duration::from_millis(limits::LEADER_SILENCE_MS);
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(Duration::from_millis(limits::ATTEND_DEADLINE_MS))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(silence / 2)
        .keep_alive_timeout(silence)
        .keep_alive_while_idle(true))
}

/// Whether `address` is one a session can be opened to.
pub fn is_address(address: &str) -> bool {
    let port = address
        .rsplit_once(':')
        .map(|(_, port)| port.parse::<u16>());
    matches!(port, Some(Ok(_))) && endpoint(address).is_ok()
}

/// A client with the project's message bounds.
pub fn client(channel: Channel) -> WorkerClient<Channel> {
    WorkerClient::new(channel)
        .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
}

/// The leader's address in a refusal.
pub fn leader_of(status: &tonic::Status) -> Option<String> {
    let leader = status.metadata().get(proto::LEADER_KEY)?.to_str().ok()?;
    is_address(leader).then(|| leader.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<String> {
        list.iter().map(|address| (*address).to_owned()).collect()
    }

    #[test]
    fn hints_are_followed_at_once_and_learnt() {
        let mut dialer = Dialer::new(addresses(&["a:1"]), 7);
        assert_eq!(dialer.first().wait, Duration::ZERO);
        let round = dialer.failed(Some("b:2".to_owned()));
        assert_eq!(round.wait, Duration::ZERO);
        assert_eq!(round.candidates, ["b:2"]);
        let round = dialer.failed(None);
        assert_eq!(
            round.candidates,
            ["a:1", "b:2"],
            "a hint that is silent leads back to all"
        );
        assert!(round.wait > Duration::ZERO);
    }

    #[test]
    fn waits_are_bounded_whatever_the_hints_say() {
        let mut dialer = Dialer::new(addresses(&["a:1", "b:1"]), 7);
        let cap = Duration::from_millis(limits::ATTEND_BACKOFF_CAP_MS * 5 / 4);
        for turn in 0..100 {
            let hint = ["a:1", "b:1"][turn % 2].to_owned();
            let round = dialer.failed(Some(hint));
            assert!(round.wait <= cap, "{round:?}");
            assert!(
                turn < 3 || round.wait > Duration::ZERO,
                "a busy loop: {round:?}"
            );
        }
        dialer.heard();
        assert_eq!(dialer.first().wait, Duration::ZERO);
    }

    #[test]
    fn a_stale_leader_is_left_out_of_one_round() {
        let mut dialer = Dialer::new(addresses(&["a:1", "b:1"]), 7);
        dialer.avoid("a:1");
        assert_eq!(dialer.first().candidates, ["b:1"]);
        assert_eq!(dialer.first().candidates, ["a:1", "b:1"]);
        let mut alone = Dialer::new(addresses(&["a:1"]), 7);
        alone.avoid("a:1");
        assert_eq!(
            alone.first().candidates,
            ["a:1"],
            "the only one can't be left out"
        );
    }

    #[test]
    fn addresses_need_a_port() {
        for (address, good) in [("127.0.0.1:7000", true), ("host:1", true), ("host", false)] {
            assert_eq!(is_address(address), good, "{address}");
        }
    }
}
