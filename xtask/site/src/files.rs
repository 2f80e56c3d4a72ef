//! Copies, names with the hash of the content, compressed copies.

use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Makes an empty folder.
pub fn empty(folder: &Path) -> Result<()> {
    remove(folder)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// Puts one folder in the place of another.
pub fn replace(old: &Path, new: &Path) -> Result<()> {
    remove(old)?;
    fs::rename(new, old).with_context(|| format!("cannot write {}", old.display()))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Copies everything that is in one folder into another.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    for file in all_files(from)? {
        let copy = to.join(file.strip_prefix(from)?);
        let folder = copy.parent().with_context(|| format!("{} is in no folder", copy.display()))?;
        fs::create_dir_all(folder)
            .and_then(|()| fs::copy(&file, &copy).map(drop))
            .with_context(|| format!("cannot write {}", copy.display()))?;
    }
    Ok(())
}

/// Renames `NAME.ENDING` to `NAME.HASH.ENDING`, so that a browser may keep it for ever. Returns a line for each ending:
/// `css: HASH`.
pub fn hash_names(folder: &Path, name: &str, endings: [&str; 3]) -> Result<String> {
    let mut lines = String::new();
    for ending in endings {
        let file = folder.join(format!("{name}.{ending}"));
        let content = fs::read(&file).with_context(|| format!("{} was not built", file.display()))?;
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        let hash = format!("{:016x}", hasher.finish());
        fs::rename(&file, folder.join(format!("{name}.{hash}.{ending}")))
            .with_context(|| format!("cannot rename {}", file.display()))?;
        writeln!(lines, "{ending}: {hash}")?;
    }
    Ok(lines)
}

/// Writes a `.br` and a `.gz` beside each file.
pub fn compress(folder: &Path) -> Result<()> {
    for file in all_files(folder)? {
        let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&content)?;
        let mut brotli = Vec::new();
        brotli::BrotliCompress(
            &mut content.as_slice(),
            &mut brotli,
            &brotli::enc::BrotliEncoderParams::default(),
        )?;
        for (ending, compressed) in [("gz", gzip.finish()?), ("br", brotli)] {
            let mut name = file.clone().into_os_string();
            name.push(format!(".{ending}"));
            fs::write(&name, compressed).with_context(|| format!("cannot write {}", name.display()))?;
        }
    }
    Ok(())
}

/// Every file in the folder and in those below it.
fn all_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => files.extend(all_files(&entry.path())?),
            kind if kind.is_file() => files.push(entry.path()),
            _ => bail!("{} is neither a file nor a folder", entry.path().display()),
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn names_follow_from_the_content_and_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |ending: &str, text: &str| fs::write(folder.path().join(format!("n.{ending}")), text).unwrap();
        let endings = ["js", "wasm", "css"];
        for ending in endings {
            write(ending, "same");
        }
        let first = hash_names(folder.path(), "n", endings).unwrap();
        let [js, wasm, css] = first.lines().collect::<Vec<_>>()[..] else { panic!("{first}") };
        let hash = js.strip_prefix("js: ").unwrap();
        assert_eq!((wasm, css), (format!("wasm: {hash}").as_str(), format!("css: {hash}").as_str()));
        assert!(hash.len() == 16 && folder.path().join(format!("n.{hash}.js")).is_file(), "{first}");
        for ending in endings {
            write(ending, "other");
        }
        assert!(!hash_names(folder.path(), "n", endings).unwrap().contains(hash));
        assert!(hash_names(folder.path(), "n", endings).is_err(), "nothing was built");
    }

    #[test]
    fn copies_are_whole_and_compressed_ones_come_to_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("deep")).unwrap();
        fs::write(from.join("deep/file"), "text ".repeat(100)).unwrap();
        copy(&from, &to).unwrap();
        compress(&to).unwrap();
        assert_eq!(all_files(&to).unwrap().len(), 3);
        let (mut gz, mut br) = (String::new(), Vec::new());
        let packed = fs::read(to.join("deep/file.gz")).unwrap();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_string(&mut gz).unwrap();
        let packed = fs::read(to.join("deep/file.br")).unwrap();
        brotli::BrotliDecompress(&mut packed.as_slice(), &mut br).unwrap();
        assert_eq!(
            (gz.as_bytes(), br.as_slice()),
            ("text ".repeat(100).as_bytes(), "text ".repeat(100).as_bytes())
        );
    }

    #[test]
    fn a_folder_takes_the_place_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("site"), dir.path().join("site.new"));
        for _ in 0..2 {
            empty(&new).unwrap();
            fs::write(new.join("a"), "").unwrap();
            replace(&old, &new).unwrap();
            assert_eq!(all_files(&old).unwrap(), [old.join("a")]);
        }
    }
}
