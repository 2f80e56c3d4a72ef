//! Data folders: each belongs to one stack, and stacks do not disturb each other.

use shared::ServiceName::EventBus;
use system_tests::Stack;
use system_tests::stack::said;

#[tokio::test]
async fn a_data_folder_belongs_to_one_stack_at_a_time() {
    let stack = Stack::services().await;
    let before = stack.pids();
    let second = stack.second_up().await;
    assert_eq!(second.status.code(), Some(1));
    assert!(said(&second).contains("already"), "{}", said(&second));
    let post = stack.blog().post("The first one does not notice").await;
    stack.blog().until_known(&post).await;
    assert_eq!(stack.pids(), before);
}

#[tokio::test]
async fn two_stacks_live_beside_each_other() {
    let (one, other) = Stack::two().await;
    assert_ne!(one.secret("OPERATOR_TOKEN"), other.secret("OPERATOR_TOKEN"));
    let (mine, yours) = (one.blog(), other.blog());
    let (a, b) = (mine.post("In one").await, yours.post("In the other").await);
    mine.until_known(&a).await;
    yours.until_known(&b).await;
    mine.comment(&a, "here").await;
    mine.until_settled(&a, 1).await;
    assert!(mine.read_post(&b).await.is_null() && yours.read_post(&a).await.is_null());
    let stranger = other.at(EventBus).get("/events").token(&one.secret("OPERATOR_TOKEN")).send().await;
    stranger.expect_problem(401);
}
