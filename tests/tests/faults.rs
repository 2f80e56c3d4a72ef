//! A short campaign of faults; `cargo xtask faults` runs longer ones.

use system_tests::faults::campaign::{self, Settings, WRITES_PER_SECOND};

/// Enough for every kind of fault to happen several times.
const MINUTES: f64 = 2.0;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_doubled_or_made_up_while_everything_breaks() {
    // A new one each time: what one run does not find, another may. A failure prints how to repeat it.
    let seed = fastrand::u64(1..1_000_000_000);
    println!("seed {seed}");
    let settings = Settings { seed, minutes: MINUTES, writes_per_second: WRITES_PER_SECOND };
    let report = campaign::run(settings).await;
    println!("{report}");
    assert!(report.passed(), "the report above shows which check fails");
}
