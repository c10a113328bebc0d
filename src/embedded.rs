//! Coordinator and workers inside this process, for `sterna clone`: the same ones as in a cluster,
//! over the loopback.

use std::path::Path;

use common::code::{Code, Failure};

use crate::error::Result;

/// One coordinator and its workers.
pub struct Embedded {}

/// Passwords by role.
#[derive(Default)]
pub struct Secrets {}

impl Secrets {
    pub fn insert(&mut self, _name: &str, _password: secrecy::SecretString) {}
}

impl Embedded {
    pub async fn start(
        _data: &Path,
        _workers: u32,
        _slots: u32,
        _secrets: Secrets,
    ) -> Result<Embedded> {
        std::future::ready(()).await;
        Err(Failure::new(Code::NotBuilt, "clone"))
    }

    pub fn addresses(&self) -> Vec<String> {
        Vec::new()
    }

    pub async fn stop(self) {
        std::future::ready(()).await;
    }
}
