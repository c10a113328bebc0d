//! A small file system of a test's own, in memory, that can be full and have space again. Needs
//! root and Linux; where it can't be mounted the test is skipped by name, aloud.
//!
//! A watchdog (a shell that reads from a pipe held by this process) unmounts it when it is dropped
//! or the test binary ends, however it ends.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// While nothing is wrong with it. Only what is used takes memory.
const ROOMY_MIB: u64 = 2048;
const BLOCK: u64 = 4096;

/// A mounted file system.
pub struct Disk {
    path: PathBuf,
    watchdog: Child,
}

impl Disk {
    /// A roomy one at `path`, which is made if it isn't there; None = this machine doesn't allow it.
    pub fn mount(path: &Path) -> Option<Disk> {
        std::fs::create_dir_all(path).expect("a directory can be made");
        let size = format!("size={ROOMY_MIB}m,mode=0755");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "sterna-test"])
            .arg(path)
            .output()
            .expect("mount runs");
        if !mounted.status.success() {
            let said = String::from_utf8_lossy(&mounted.stderr);
            eprintln!("SKIPPED: no test of a full disk here, mount said: {said}");
            return None;
        }
        let watchdog = Command::new("sh")
            .args(["-c", "read -r _; umount -l \"$DIR\"; rmdir \"$DIR\""])
            .env("DIR", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What ends this process's group must not end the watchdog with it.
            .process_group(0)
            .spawn()
            .expect("sh runs");
        Some(Disk {
            path: path.to_owned(),
            watchdog,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that are in use.
    pub fn used(&self) -> u64 {
        let output = Command::new("df")
            .args(["--output=used", "--block-size=1"])
            .arg(&self.path)
            .output()
            .expect("df runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let used = text
            .lines()
            .nth(1)
            .and_then(|line| line.trim().parse().ok());
        used.unwrap_or_else(|| panic!("df said {text:?}"))
    }

    /// From now on only `bytes` more can be written.
    pub fn leave(&self, bytes: u64) {
        // Somebody may be writing meanwhile, and a size below what is in use is refused.
        for spare in 0..20 {
            let size = self.used() + bytes + spare * 64 * BLOCK;
            if self.resize(size.div_ceil(BLOCK) * BLOCK) {
                return;
            }
        }
        panic!("{} can't be made small", self.path.display());
    }

    /// There is space again.
    pub fn free(&self) {
        assert!(self.resize(ROOMY_MIB << 20), "it can always grow");
    }

    fn resize(&self, bytes: u64) -> bool {
        let size = format!("remount,size={bytes}");
        let remounted = Command::new("mount")
            .args(["-o", &size])
            .arg(&self.path)
            .stderr(Stdio::null())
            .status();
        remounted.expect("mount runs").success()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}
