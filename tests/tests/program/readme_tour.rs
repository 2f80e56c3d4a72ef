//! The first tour in the README works as printed.

use shared::ServiceName::{self, EventBus};
use std::process::Command;
use system_tests::sse::Stream;
use system_tests::stack::said;
use system_tests::{LIMIT, Stack, eventually, holds, program};

/// The commands of the tour, in order.
fn tour() -> Vec<String> {
    let readme = std::fs::read_to_string(program::root().join("README.md")).expect("the README");
    let tour =
        readme.split("## A first tour").nth(1).expect("a tour").split("\n## ").next().unwrap_or_default();
    tour.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect()
}

/// Runs a line of the tour in a shell, in the folder with the data.
fn run(stack: &Stack, line: &str) {
    let (program, folder) = stack.program_and_folder();
    let script = format!("mini-blog() {{ '{}' \"$@\"; }}\n{line}", program.display());
    let output = Command::new("bash").args(["-ec", &script]).current_dir(folder).output().expect("bash");
    assert!(output.status.success(), "{line}\n{}", said(&output));
}

#[tokio::test]
async fn the_first_tour_works_as_it_is_printed() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let post = blog.post("Written before the tour").await;
    blog.until_known(&post).await;
    let tour = tour();
    assert!(tour.len() >= 8, "{tour:?}");
    for line in &tour {
        if let Some(named) = line.strip_prefix("alias mini-blog=") {
            assert_eq!(named, "target/release/mini-blog", "where `cargo xtask build` puts it");
        } else if let Some((_, place)) = line.split_once("http://127.0.0.1:4005") {
            assert!(line.starts_with("curl ") && line.contains("$OPERATOR_TOKEN"), "{line}");
            if line.contains(" -N ") {
                let request = stack.at(EventBus).get(place).token(&stack.secret("OPERATOR_TOKEN"));
                let mut stream = Stream::open(request).await;
                assert!(stream.next().await.is_some(), "{line}");
            } else {
                let answer = stack.operator_get(EventBus, place).await.expect(200).json();
                assert!(answer.as_array().is_some_and(|rows| !rows.is_empty()), "{line}: {answer}");
            }
        } else if line.starts_with(". ") {
            run(&stack, &format!("{line}; test -n \"$OPERATOR_TOKEN\""));
        } else {
            run(&stack, line);
        }
    }
    // The tour has repaired everything that it broke.
    eventually(LIMIT, "everything is ready again", async || {
        let status = said(&stack.cli(&["status"]).await);
        holds(status, |status| status.matches("  yes  ").count() == ServiceName::ALL.len())
    })
    .await;
    blog.comment(&post, "after the tour").await;
    blog.until_settled(&post, 1).await;
}
