//! Runs a campaign of faults and prints its report. Exit code: 0 if every check holds, 1 if not, 2 for wrong flags.

use clap::Parser;
use std::process::ExitCode;
use system_tests::faults::campaign::{self, Settings, WRITES_PER_SECOND};
use tokio::signal::unix::{SignalKind, signal};

/// A campaign of faults against the real processes.
#[derive(Debug, Parser)]
#[command(name = "faults")]
struct Flags {
    /// Where all randomness comes from: the same seed is the same plan [default: a random one, which is printed]
    #[arg(long, value_name = "NUMBER", value_parser = seed, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// For how many minutes faults are injected
    #[arg(long, value_name = "MINUTES", default_value_t = 3.0, value_parser = minutes, allow_negative_numbers = true)]
    minutes: f64,
    /// How many writes begin each second, fewer where answers are slow
    #[arg(long, value_name = "NUMBER", default_value_t = WRITES_PER_SECOND, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rate: u64,
}

/// A week.
const MOST_MINUTES: f64 = 7.0 * 24.0 * 60.0;

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("must be a whole number from 0 to {}", u64::MAX))
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse().map_err(|_| "not a number".to_owned())?;
    if minutes > 0.0 && minutes <= MOST_MINUTES {
        Ok(minutes)
    } else {
        Err(format!("must be more than 0 and at most {MOST_MINUTES}"))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    let seed = flags.seed.unwrap_or_else(|| fastrand::u64(1..1_000_000_000));
    eprintln!(
        "faults: seed {seed}, {} minutes; repeat it with: cargo xtask faults --seed {seed} --minutes {}",
        flags.minutes, flags.minutes
    );
    let settings = Settings { seed, minutes: flags.minutes, writes_per_second: flags.rate };
    tokio::select! {
        report = campaign::run(settings) => {
            println!("{report}");
            if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        // Returning ends the processes and unmounts their disks.
        () = interrupted() => {
            eprintln!("faults: interrupted");
            ExitCode::from(130)
        }
    }
}

/// Waits for SIGINT or SIGTERM; for ever if no handler can be installed.
async fn interrupted() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
