//! A small disk that a test can fill.
//!
//! It is a tmpfs, whose size can be set while it is in use, so that a full disk costs no memory. Only root can mount it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The size while it is not full; what is not used takes no memory.
const SIZE: &str = "1g";
/// How often filling tries again because the service has written meanwhile.
const ATTEMPTS: u32 = 20;
/// A full disk has no space for this.
const NO_ROOM_FOR: usize = 64 * 1024;

/// A mounted disk. Dropping it unmounts it.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts a disk on this folder, which must exist; the error says why that is not possible.
    pub fn mount(path: &Path) -> Result<Self, String> {
        let options = format!("size={SIZE},mode=0700");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "mini-blog-test"]).arg(path))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Leaves no space.
    pub fn fill(&self) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            // Below what is used meanwhile the size cannot be set.
            match self.used().and_then(|used| self.resize(&used.to_string())) {
                Ok(()) if self.is_full() => return Ok(()),
                Ok(()) => "there was still space".clone_into(&mut last),
                Err(error) => last = error,
            }
        }
        self.free()?;
        Err(last)
    }

    /// Leaves this many bytes, and what is written meanwhile less.
    pub fn leave(&self, bytes: u64) -> Result<(), String> {
        self.resize(&(self.used()? + bytes).to_string())
    }

    /// Makes space again.
    pub fn free(&self) -> Result<(), String> {
        self.resize(SIZE)
    }

    fn resize(&self, size: &str) -> Result<(), String> {
        run(Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.path))
    }

    fn used(&self) -> Result<u64, String> {
        let stat = rustix::fs::statvfs(&self.path).map_err(|e| format!("cannot measure the disk: {e}"))?;
        Ok((stat.f_blocks - stat.f_bfree) * stat.f_frsize)
    }

    fn is_full(&self) -> bool {
        let probe = self.path.join(".probe");
        let written = fs::File::create(&probe).and_then(|mut file| file.write_all(&vec![1; NO_ROOM_FOR]));
        // There is nothing to remove if the file could not even be created.
        let _ = fs::remove_file(&probe);
        written.is_err_and(|e| e.kind() == io::ErrorKind::StorageFull)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that is still ending may have files open.
        if let Err(error) = run(Command::new("umount").arg("--lazy").arg(&self.path)) {
            eprintln!("{} stays mounted: {error}", self.path.display());
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output =
        command.output().map_err(|e| format!("cannot run {}: {e}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    // The lines after the first are advice.
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_takes_nothing_and_a_freed_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let disk = match Disk::mount(folder.path()) {
            Ok(disk) => disk,
            // Only root can mount.
            Err(why) => return crate::report_skipped(&why),
        };
        let file = folder.path().join("file");
        fs::write(&file, vec![1; 300_000]).unwrap();
        disk.fill().unwrap();
        let refused = fs::write(folder.path().join("other"), vec![1; 100_000]).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&file).unwrap().len(), 300_000);
        disk.free().unwrap();
        fs::write(folder.path().join("other"), vec![1; 100_000]).unwrap();
        drop(disk);
        assert!(!file.exists(), "it is unmounted");
    }
}
