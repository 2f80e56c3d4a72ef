//! What comes from the system's package manager: the browser and the database of the tests, the container engine, the
//! load generator, and what compiles OpenSSL and SQLite.

use crate::shell::{Shell, read, run, say};
use anyhow::{Result, bail};
use servers::postgres::Programs;
use std::path::Path;

/// A program that a package of the system brings.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    program: &'static str,
    package: &'static str,
    /// Arguments with which it succeeds only where it is installed completely.
    proof: Option<&'static [&'static str]>,
}

/// The database of the tests. Debian keeps its programs out of the search path.
const DATABASE: [Wanted; 1] = [Wanted { program: "postgres", package: "postgresql", proof: None }];

/// What the browser tests run.
const BROWSER: [Wanted; 2] = [
    Wanted { program: "chromium", package: "chromium", proof: None },
    Wanted { program: "chromedriver", package: "chromium-driver", proof: None },
];

/// What the benchmark loads the services with.
const LOAD_GENERATOR: [Wanted; 1] = [Wanted { program: "wrk", package: "wrk", proof: None }];

/// What counts instructions.
const COUNTER: [Wanted; 1] = [Wanted { program: "valgrind", package: "valgrind", proof: None }];

/// What compiles OpenSSL. Many systems have a perl without the modules that this takes.
const OPENSSL_BUILD: [Wanted; 2] = [
    Wanted { program: "perl", package: "perl", proof: Some(&["-MFindBin", "-MIPC::Cmd", "-e", "1"]) },
    Wanted { program: "make", package: "make", proof: None },
];

/// What compiles SQLite for images.
const MUSL: [Wanted; 1] = [Wanted { program: "musl-gcc", package: "musl-tools", proof: None }];

/// What runs containers. Its client alone is often installed without it; with some systems it is a package of its own.
const ENGINE: [Wanted; 1] = [Wanted { program: "dockerd", package: "docker.io", proof: None }];
const ENGINES_CLIENT: [Wanted; 1] = [Wanted { program: "docker", package: "docker-cli", proof: None }];

impl Wanted {
    fn is_installed(&self, shell: &Shell) -> bool {
        if self.program == DATABASE[0].program {
            return has_database();
        }
        shell.find(self.program).is_some()
            && self.proof.is_none_or(|args| read(shell.command(self.program).args(args)).is_some())
    }
}

/// Installs the browser where it is missing.
pub fn install_browser(shell: &Shell) -> Result<()> {
    install(shell, &BROWSER)
}

/// Installs the database server of the tests, where it is missing.
pub fn install_database(shell: &Shell) -> Result<()> {
    install(shell, &DATABASE)
}

/// Installs the load generator of the benchmark, where it is missing.
pub fn install_load_generator(shell: &Shell) -> Result<()> {
    install(shell, &LOAD_GENERATOR)
}

/// Installs what counts instructions, where it is missing.
pub fn install_counter(shell: &Shell) -> Result<()> {
    install(shell, &COUNTER)
}

/// Installs what compiling OpenSSL takes, where it is missing.
pub fn install_openssl_build(shell: &Shell) -> Result<()> {
    install(shell, &OPENSSL_BUILD)
}

/// Installs the C compiler of static programs, where it is missing.
pub fn install_musl(shell: &Shell) -> Result<()> {
    install(shell, &MUSL)
}

/// Installs a container engine where none runs and that can be done. The error says why there is none.
pub fn install_engine(shell: &Shell) -> Result<()> {
    if !is_root(shell) {
        bail!("the tests read the processes of containers and send them signals, which only root can");
    }
    let version = read(shell.command("docker").args(["info", "--format", "{{.ServerVersion}}"]));
    if version.is_some_and(|version| !version.is_empty()) {
        say("a container engine runs");
        return Ok(());
    }
    install(shell, &ENGINE)?;
    install(shell, &ENGINES_CLIENT)
}

/// Whether the database server of the tests is installed.
pub fn has_database() -> bool {
    // There are no files yet that only one version could read.
    Programs::find(Path::new("/nonexistent")).is_ok()
}

/// Whether packages can be installed at all.
pub fn can_install(shell: &Shell) -> bool {
    is_root(shell) && shell.find("apt-get").is_some()
}

fn is_root(shell: &Shell) -> bool {
    read(shell.command("id").arg("-u")).as_deref() == Some("0")
}

/// Prints which programs are installed. Returns whether the browser is: the others are for single commands.
pub fn report(shell: &Shell) -> bool {
    let single: [(&[Wanted], &str); 6] = [
        (&DATABASE, "tests of that engine"),
        (&LOAD_GENERATOR, "the benchmark"),
        (&COUNTER, "counting instructions"),
        (&MUSL, "images"),
        (&ENGINE, "tests of images"),
        (&ENGINES_CLIENT, "tests of images"),
    ];
    let states = |wanted: &[Wanted]| {
        let state = |w: &Wanted| if w.is_installed(shell) { "installed" } else { "missing" };
        wanted.iter().map(|w| (w.program, state(w))).collect::<Vec<_>>()
    };
    let browser = states(&BROWSER);
    for (program, state) in &browser {
        say(&format!("{program}: {state}"));
    }
    for (wanted, purpose) in single {
        for (program, state) in states(wanted) {
            say(&format!("{program}, for {purpose} only: {state}"));
        }
    }
    browser.iter().all(|(_, state)| *state == "installed")
}

/// Installs the packages of those programs that are missing; where that cannot be done, says what is missing.
fn install(shell: &Shell, wanted: &[Wanted]) -> Result<()> {
    let missing = || wanted.iter().copied().filter(|w| !w.is_installed(shell)).collect::<Vec<_>>();
    let absent = missing();
    if absent.is_empty() {
        let programs: Vec<_> = wanted.iter().map(|w| w.program).collect();
        say(&format!(
            "{} {} installed",
            programs.join(" and "),
            if programs.len() == 1 { "is" } else { "are" }
        ));
        return Ok(());
    }
    if can_install(shell) {
        let apt = |args: &[&str], step: &str| {
            run(step, shell.command("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive"))
        };
        // Old lists may still be good enough.
        if let Err(e) = apt(&["update"], "update the lists of packages") {
            say(&format!("{e}; going on with the old lists"));
        }
        let packages = absent.iter().map(|w| w.package);
        let args: Vec<_> =
            ["install", "--yes", "--no-install-recommends"].into_iter().chain(packages).collect();
        if let Err(e) = apt(&args, "install packages") {
            say(&e.to_string());
        }
    }
    match complaint(&missing()) {
        Some(complaint) => bail!(complaint),
        None => Ok(()),
    }
}

/// One line about what is missing.
fn complaint(missing: &[Wanted]) -> Option<String> {
    let programs = missing.iter().map(|w| w.program).collect::<Vec<_>>().join(" and ");
    let packages = missing.iter().map(|w| w.package).collect::<Vec<_>>().join(" ");
    (!missing.is_empty()).then(|| {
        let verb = if missing.len() == 1 { "is" } else { "are" };
        format!("{programs} {verb} missing: install with `sudo apt-get install {packages}`, or your package manager")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_reported_in_one_line() {
        assert_eq!(complaint(&[]), None);
        assert_eq!(
            complaint(&BROWSER).unwrap(),
            "chromium and chromedriver are missing: install with `sudo apt-get install chromium chromium-driver`, \
             or your package manager"
        );
        assert!(complaint(&BROWSER[1..]).unwrap().starts_with("chromedriver is missing"));
    }

    #[test]
    fn what_is_installed_is_left_alone_and_half_of_it_does_not_count() {
        let shell = Shell::new().unwrap();
        let sh = Wanted { program: "sh", package: "no-such-package", proof: Some(&["-c", "exit 0"]) };
        install(&shell, &[sh]).unwrap();
        assert!(!Wanted { proof: Some(&["-c", "exit 1"]), ..sh }.is_installed(&shell));
        assert!(!Wanted { program: "no-such-program", proof: None, ..sh }.is_installed(&shell));
    }
}
