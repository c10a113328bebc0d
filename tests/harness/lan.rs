//! A network of a test's own: each coordinator in a network namespace with an address, all on one
//! bridge with the machine itself. A way between two of them can be closed in one direction alone:
//! what one sends to the other goes to a station that doesn't exist, without a word to anybody.
//! Needs root and Linux; where it isn't allowed the test is skipped by name, aloud.
//!
//! A watchdog (a shell that reads from a pipe held by this process) removes it all when it is
//! dropped or the test binary ends, however it ends.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

const NOBODY: &str = "02:00:00:00:00:99";

/// Who may be cut off from whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The coordinator at this index.
    Coordinator(usize),
    /// The machine: workers, clients, databases.
    Machine,
}

/// A bridge and its namespaces.
pub struct Lan {
    /// Prefix of all names.
    tag: String,
    net: String,
    size: usize,
    cut: Mutex<Vec<(Party, Party)>>,
    watchdog: Child,
}

impl Lan {
    /// For so many coordinators; None = this machine doesn't allow it.
    pub fn build(size: usize) -> Option<Lan> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let tag = format!("s{}x{number}", pid % 1_000_000);
        let net = format!("10.{}.{}", 100 + pid % 100, number % 250);
        let watchdog = Command::new("sh")
            .args(["-c", REMOVE])
            .env("TAG", &tag)
            .env("SIZE", size.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What ends this process's group must not end the watchdog with it.
            .process_group(0)
            .spawn()
            .expect("sh runs");
        let lan = Lan {
            tag,
            net,
            size,
            cut: Mutex::new(Vec::new()),
            watchdog,
        };
        match lan.raise() {
            Ok(()) => Some(lan),
            Err(said) => {
                eprintln!("SKIPPED: no test of one-way partitions here, ip said: {said}");
                None
            }
        }
    }

    fn raise(&self) -> Result<(), String> {
        let (tag, net) = (&self.tag, &self.net);
        ip(&format!("link add {tag}b type bridge"))?;
        ip(&format!("addr add {net}.1/24 dev {tag}b"))?;
        ip(&format!("link set {tag}b up"))?;
        for i in 0..self.size {
            let (name, address) = (self.netns(i), self.address(Party::Coordinator(i)));
            ip(&format!("netns add {name}"))?;
            ip(&format!(
                "link add {tag}v{i} type veth peer name e0 netns {name}"
            ))?;
            ip(&format!("link set {tag}v{i} master {tag}b up"))?;
            ip(&format!("-n {name} addr add {address}/24 dev e0"))?;
            ip(&format!("-n {name} link set e0 up"))?;
            ip(&format!("-n {name} link set lo up"))?;
        }
        Ok(())
    }

    /// The namespace of the coordinator at `index`.
    pub fn netns(&self, index: usize) -> String {
        format!("{}n{index}", self.tag)
    }

    pub fn address(&self, party: Party) -> String {
        match party {
            Party::Machine => format!("{}.1", self.net),
            Party::Coordinator(i) => format!("{}.{}", self.net, i + 2),
        }
    }

    /// What `from` sends to `to` is lost from now on; the other way is open.
    pub fn cut(&self, from: Party, to: Party) {
        let lost = format!("lladdr {NOBODY} nud permanent");
        self.neighbour("replace", from, to, &lost);
        self.cut
            .lock()
            .expect("no panic meanwhile")
            .push((from, to));
    }

    /// Everybody hears everybody again.
    pub fn heal(&self) {
        let cut = std::mem::take(&mut *self.cut.lock().expect("no panic meanwhile"));
        for (from, to) in cut {
            self.neighbour("del", from, to, "");
        }
    }

    fn neighbour(&self, verb: &str, from: Party, to: Party, more: &str) {
        let (inside, device) = match from {
            Party::Machine => (String::new(), format!("{}b", self.tag)),
            Party::Coordinator(i) => (format!("-n {}", self.netns(i)), "e0".to_owned()),
        };
        let address = self.address(to);
        let done = ip(&format!(
            "{inside} neigh {verb} {address} {more} dev {device}"
        ));
        done.unwrap_or_else(|said| panic!("{said}"));
    }
}

const REMOVE: &str = r#"
read -r _
i=0
while [ "$i" -lt "$SIZE" ]; do ip netns del "${TAG}n$i"; i=$((i + 1)); done
ip link del "${TAG}b"
"#;

fn ip(args: &str) -> Result<(), String> {
    let output = Command::new("ip").args(args.split_whitespace()).output();
    let output = output.map_err(|error| format!("{error} (is iproute2 there?)"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{}: ip {args}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}
