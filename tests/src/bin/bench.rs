//! Runs the benchmark and prints its table. Exit code: 0 when it has run, whatever the figures; 2 for wrong flags.

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use system_tests::bench::bare;
use system_tests::bench::report::Report;
use system_tests::bench::run::{self, Group, Settings};
use system_tests::program;

/// Measures the release build on this machine, each figure beside a ceiling taken in the same run.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Flags {
    /// About two minutes of measuring instead of half an hour; the spreads are wider
    #[arg(long)]
    quick: bool,
    /// Print JSON instead of the table (which then goes to the standard error)
    #[arg(long)]
    json: bool,
    /// Print what has changed since the run of which this file has the JSON
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// How many posts are stored before anything is read
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    posts: u64,
    /// How many comments are stored before anything is read
    #[arg(long, value_name = "NUMBER", default_value_t = 60)]
    comments: u64,
    /// Only these rows (may be repeated); memory and the start are always measured
    #[arg(long, value_enum, value_name = "ROWS")]
    only: Vec<Group>,
    /// A folder on the disk to be measured [default: `target`]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(bare::COMMAND) {
        return finish(bare::serve(&arguments.collect::<Vec<_>>()));
    }
    let flags = Flags::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => return finish(Err(format!("no runtime: {e}"))),
    };
    finish(runtime.block_on(bench(flags)))
}

fn finish(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(flags: Flags) -> Result<(), String> {
    // Before anything is measured: a wrong file must not cost half an hour.
    let before = flags.compare.as_deref().map(read).transpose()?;
    let parent = flags.folder.unwrap_or_else(|| program::root().join("target"));
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&parent);
    let folder = folder.map_err(|e| format!("{}: {e}", parent.display()))?;
    // The stacks are on the same disk.
    tempfile::env::override_temp_dir(folder.path())
        .map_err(|set| format!("temporary files are in {}", set.display()))?;
    let Flags { quick, posts, comments, only, .. } = flags;
    let settings = Settings { quick, posts, comments, only };
    let report = tokio::select! {
        report = run::run(settings, folder.path().to_owned()) => report,
        // Returning ends the processes and deletes the folder.
        _ = tokio::signal::ctrl_c() => return Err("interrupted".to_owned()),
    };
    if flags.json {
        eprintln!("{}", report.table());
        println!("{}", report.json().map_err(|e| e.to_string())?);
    } else {
        println!("{}", report.table());
    }
    if let Some(before) = before {
        let comparison = report.comparison(&before);
        if flags.json { eprintln!("{comparison}") } else { println!("{comparison}") }
    }
    Ok(())
}

fn read(file: &std::path::Path) -> Result<Report, String> {
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
    let text = std::fs::read_to_string(file).map_err(|e| failed(&e))?;
    serde_json::from_str(&text).map_err(|e| failed(&e))
}
