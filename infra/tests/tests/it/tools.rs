//! A missing tool is never a silent success.

use std::env;
use std::process::{Command, Output};

/// Runs a test of this program again, without any program on the path.
fn without_tools(ci: Option<&str>) -> Output {
    let mut again = Command::new(env::current_exe().expect("this program"));
    again.args(["--exact", "rendered::the_autoscaler_scales_around_what_runs_without_it"]).env("PATH", "");
    again.env_remove("CI").envs(ci.map(|ci| ("CI", ci))).output().expect("it runs")
}

#[test]
fn without_a_renderer_a_test_fails_under_ci_and_is_reported_as_skipped_elsewhere() {
    let under_ci = without_tools(Some("true"));
    assert!(!under_ci.status.success());
    let elsewhere = without_tools(None);
    let said = String::from_utf8_lossy(&elsewhere.stderr);
    assert!(elsewhere.status.success() && said.contains("SKIPPED rendered::the_autoscaler"), "{said}");
}
