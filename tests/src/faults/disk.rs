//! A small disk of a service's own, which can be filled up and freed.
//!
//! It is a tmpfs: its size can be set while it is in use, so that a full disk costs no memory. Mounting takes root.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The size while it is not full; what is not used takes no memory.
const SIZE: &str = "1g";
/// How often the size is set anew because the service has written meanwhile.
const ATTEMPTS: u32 = 20;
/// What must not fit any more on a full disk.
const NO_ROOM_FOR: usize = 64 * 1024;

/// A mounted disk. Dropping it unmounts it.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts a disk on this folder, which must be there; says why where that cannot be done.
    pub fn mount(path: &Path) -> Result<Self, String> {
        let options = format!("size={SIZE},mode=0700");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "mini-blog-faults"]).arg(path))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Leaves no room.
    pub fn fill(&self) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            // Below what is used meanwhile the size cannot be set.
            match self.used().and_then(|used| self.resize(&used.to_string())) {
                Ok(()) if self.is_full() => return Ok(()),
                Ok(()) => "there was still room".clone_into(&mut last),
                Err(error) => last = error,
            }
        }
        self.free()?;
        Err(last)
    }

    /// Gives the room back.
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
        // Where it could not even be made there is nothing to remove.
        let _ = fs::remove_file(&probe);
        written.is_err_and(|e| e.kind() == io::ErrorKind::StorageFull)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, so that a process that is still ending does not keep it for ever.
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
    // What follows the first line is advice.
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
            // Where it cannot be mounted, the campaign says so and counts none.
            Err(why) => return eprintln!("not tried: {why}"),
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
