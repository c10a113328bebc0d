//! Coordinator and workers inside this process, for `sterna clone`: the same ones as in a cluster,
//! over the loopback. One coordinator needs nobody to elect it and finds its log where it left it.

use std::path::Path;
use std::time::Duration;

use common::code::{Code, Failure};
use common::limits::Limits;
use coordinator::{Coordinator, CoordinatorConfig};
use futures::future::join_all;
use worker::secret::Secrets;
use worker::{WorkerConfig, WorkerHandle};

use crate::error::Result;

const HEALTH_POLL: Duration = Duration::from_millis(200);

/// One coordinator and its workers.
pub struct Embedded {
    coordinator: Coordinator,
    workers: Vec<WorkerHandle>,
}

impl Embedded {
    /// `data` is locked by this process from here on.
    pub async fn start(
        data: &Path,
        workers: u32,
        slots: u32,
        secrets: Secrets,
    ) -> Result<Embedded> {
        let config = CoordinatorConfig {
            name: "local".to_owned(),
            data_dir: data.to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            advertise: None,
            http: None,
            join: Vec::new(),
            bootstrap_expect: 1,
            limits: Limits::default(),
            snapshot_every: 5_000,
        };
        let coordinator = { coordinator::start(config).await }.map_err(|e| e.failure())?;
        let mut embedded = Embedded {
            coordinator,
            workers: Vec::new(),
        };
        for number in 1..=workers {
            let config = WorkerConfig {
                secrets: secrets.clone(),
                ..WorkerConfig::new(format!("local-{number}"), embedded.addresses(), slots)
            };
            match worker::start(config).await {
                Ok(worker) => embedded.workers.push(worker),
                Err(error) => {
                    embedded.stop().await;
                    return Err(Failure::new(Code::Usage, error.to_string()));
                }
            }
        }
        Ok(embedded)
    }

    pub fn addresses(&self) -> Vec<String> {
        vec![self.coordinator.grpc_address().to_string()]
    }

    /// Returns once the state directory failed: nothing goes on without it.
    pub async fn failed(&self) -> Failure {
        failed(&self.coordinator).await
    }

    /// Work in flight is rolled back and given back, then the log is closed.
    pub async fn stop(self) {
        join_all(self.workers.iter().map(WorkerHandle::stop)).await;
        self.coordinator.shutdown().await;
    }
}

/// Watches a coordinator's state directory.
pub async fn failed(coordinator: &Coordinator) -> Failure {
    loop {
        if let Some(failure) = coordinator.failure() {
            return failure;
        }
        tokio::time::sleep(HEALTH_POLL).await;
    }
}
