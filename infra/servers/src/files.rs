//! Private files, random passwords, the end of a log.

use crate::{Error, at};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A log that is longer is moved aside when its server starts.
const LONG_LOG: u64 = 1024 * 1024;
/// How much of the end of a log an error shows.
const SHOWN_LINES: usize = 5;
const MAX_READ: u64 = 64 * 1024;

/// 48 hexadecimal digits from the system's random numbers.
pub(crate) fn random_password() -> Result<String, Error> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 24];
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).map_err(at(path))?;
    let mut text = String::new();
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// The password in this file, which is made if it is missing.
pub(crate) fn password_in(file: &Path) -> Result<String, Error> {
    match fs::read_to_string(file) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(at(file)(e)),
        _ => {
            let password = random_password()?;
            write_private(file, &password)?;
            Ok(password)
        }
    }
}

/// Writes a file that only its owner can read. After a crash it has the old content or the new one.
pub(crate) fn write_private(path: &Path, content: &str) -> Result<(), Error> {
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(at(&fresh)(e)),
        _ => {}
    }
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    write().map_err(at(path))
}

/// A path in the folder of temporary files that nothing has.
pub(crate) fn temporary(what: &str) -> PathBuf {
    let name = format!("mini-blog-{what}-{}-{:016x}", std::process::id(), fastrand::u64(..));
    std::env::temp_dir().join(name)
}

/// Removes a folder and everything in it, if it exists.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(at(folder)(e)),
        _ => Ok(()),
    }
}

/// Opens a log for appending, and returns its length.
pub(crate) fn open_log(path: &Path) -> Result<(File, u64), Error> {
    let open = || {
        if fs::metadata(path).is_ok_and(|log| log.len() > LONG_LOG) {
            fs::rename(path, path.with_extension("log.1"))?;
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    };
    open().map_err(at(path))
}

/// What a log holds behind this offset, at most its first 64 KiB; nothing if it cannot be read.
pub(crate) fn log_since(path: &Path, offset: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(offset))?;
        file.take(MAX_READ).read_to_end(&mut bytes)
    });
    // It only explains another failure.
    read.map_or_else(|_| String::new(), |_| String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of a text in one.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_password_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let password = password_in(&file).unwrap();
        assert_eq!(password.len(), 48);
        assert_eq!(password_in(&file).unwrap(), password);
        assert_ne!(random_password().unwrap(), password);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_error_shows_the_end_of_a_log() {
        assert_eq!(last_lines("one\n\n two\nthree\nfour\nfive\nsix\n"), "two; three; four; five; six");
        assert_eq!(last_lines(""), "");
    }
}
