//! Passwords: found by reference, kept in a type that can't be printed.

use std::collections::BTreeMap;

use common::code::Code;
use common::job::{Endpoint, SecretRef};
use secrecy::SecretString;

use crate::connector::{Error, Result};

/// What `sterna clone` hands to the worker in its own process.
#[derive(Clone, Default)]
pub struct Secrets {
    session: BTreeMap<String, SecretString>,
}

impl Secrets {
    /// Keeps the password of "source" or "target" for this process.
    pub fn insert(&mut self, name: &str, password: SecretString) {
        self.session.insert(name.to_owned(), password);
    }

    /// The endpoint's password, None if it has none.
    pub fn resolve(&self, endpoint: &Endpoint) -> Result<Option<SecretString>> {
        let password = endpoint.password.as_ref();
        password.map(|password| self.find(password)).transpose()
    }

    /// What a reference leads to.
    pub fn find(&self, secret: &SecretRef) -> Result<SecretString> {
        let missing = |what: String| Error::permanent(Code::AccessDenied, what);
        match secret {
            SecretRef::Session(name) => match self.session.get(name) {
                Some(password) => Ok(password.clone()),
                None => Err(missing(format!(
                    "the password of the {name} was given to another process: run the same \
                     `sterna clone` command again"
                ))),
            },
            SecretRef::Env(name) => match std::env::var(name) {
                Ok(password) => Ok(password.into()),
                Err(_) => Err(missing(format!(
                    "the worker has no environment variable {name}"
                ))),
            },
            SecretRef::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).into()),
                Err(error) => Err(missing(format!("the worker can't read {path}: {error}"))),
            },
        }
    }
}
