//! Tests that cannot run on this machine.

use std::env;
use std::io::Write;

/// Reports that the calling test is skipped because a tool is missing. Panics if `CI` is set, where nothing may be
/// missing.
pub fn skip(missing: &str) {
    assert!(env::var_os("CI").is_none_or(|ci| ci.is_empty()), "CI is set, and this is missing: {missing}");
    report_skipped(&format!("missing: {missing}"));
}

/// Reports that the calling test is skipped, whatever the machine: it needs a privilege that not every CI grants.
pub fn report_skipped(why: &str) {
    let test = std::thread::current();
    let line = format!("SKIPPED {}: {why}\n", test.name().unwrap_or("a test"));
    // Not `eprintln!`, whose output the test runner hides when a test passes.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
