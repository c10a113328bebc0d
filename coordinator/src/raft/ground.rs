//! What a member stands on: the network, its files, and faults that strike it alone. The real ones,
//! unless a test brings its own; nothing here decides anything.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use common::fault::{Action, Fault};
use redb::{Builder, Database, DatabaseError};
use tonic::transport::{Channel, Endpoint};

use crate::faults;

/// Makes the way to another coordinator. It must not block: it connects when it is used.
pub type Connect = Arc<dyn Fn(&Endpoint) -> Channel + Send + Sync>;
/// Opens the file of that path, or makes it.
pub type OpenFile = Arc<dyn Fn(&Path, &Builder) -> Result<Database, DatabaseError> + Send + Sync>;
/// What happens now at a fault point of this member.
pub type Strike = Arc<dyn Fn(Fault) -> Option<Action> + Send + Sync>;

/// The default is the operating system's network and files, and the process's fault points.
#[derive(Clone, Default)]
pub struct Ground {
    pub connect: Option<Connect>,
    pub open_file: Option<OpenFile>,
    pub strike: Option<Strike>,
}

impl fmt::Debug for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ground")
            .field("connect", &self.connect.is_some())
            .field("open_file", &self.open_file.is_some())
            .field("strike", &self.strike.is_some())
            .finish()
    }
}

impl Ground {
    pub(crate) fn connect(&self, endpoint: &Endpoint) -> Channel {
        match &self.connect {
            Some(connect) => connect(endpoint),
            None => endpoint.connect_lazy(),
        }
    }

    /// Passes through a fault point. True: the answer of what was just done is lost.
    pub(crate) async fn point(&self, fault: Fault) -> bool {
        match self.strike.as_ref().and_then(|strike| strike(fault)) {
            Some(action) => faults::act(fault, action).await,
            None => faults::point(fault).await,
        }
    }
}
