//! What only tests need is in no released program.

use std::process::Command;

/// `kit` as cargo compiles it for this package, with its features.
fn kit_for(package: &str) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--edges", "normal,build", "--prefix", "none"])
        .args(["--format", "{p} [{f}]", "--package", package])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("text");
    tree.lines().find(|line| line.starts_with("kit ")).expect("it depends on the kit").to_owned()
}

#[test]
fn no_released_program_has_crash_points() {
    for package in ["mini-blog", "event-bus", "posts", "comments", "moderation", "query"] {
        let kit = kit_for(package);
        assert!(!kit.contains("crash-points"), "{package}: {kit}");
    }
    let kit = kit_for("testkit");
    assert!(kit.contains("crash-points"), "this test can fail: {kit}");
}
