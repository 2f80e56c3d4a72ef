//! The pages as they are sent, without a browser.

use std::collections::BTreeSet;
use system_tests::blog::{contents, id_of};
use system_tests::http::Answer;
use system_tests::{LIMIT, Stack, eventually, holds};

/// Sends a form as a browser without script does.
async fn submit(stack: &Stack, path: &str, fields: &[(&str, &str)]) -> Answer {
    let door = stack.front_door();
    let request = door.post(path).header("origin", &door.url).header("accept", "text/html");
    request.form(fields).send().await
}

/// Opens the target of a redirect.
async fn follow(stack: &Stack, answer: &Answer) -> Answer {
    assert_eq!(answer.status, 303, "{answer}");
    let path = answer.header("location").split('#').next().unwrap_or_default();
    stack.front_door().get(path).header("cookie", &answer.cookies()).send().await.expect(200)
}

/// Every path under `/pkg/` that a page names.
fn named_files(page: &str) -> BTreeSet<String> {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'));
    page.match_indices("/pkg/")
        .map(|(at, _)| page[at..].split(ends).next().unwrap_or_default().to_owned())
        .collect()
}

/// Whether a script exports this name, in one list for all names or where the function stands.
fn exports(script: &str, name: &str) -> bool {
    let list = script.rsplit_once("export{").and_then(|(_, rest)| rest.split('}').next()).unwrap_or_default();
    let listed = list.split(',').any(|export| export.rsplit(" as ").next() == Some(name));
    listed || script.contains(&format!("export function {name}("))
}

/// The values of an attribute.
fn attributes<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let begin = format!(" {name}=\"");
    page.split(&begin).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[tokio::test]
async fn every_file_that_a_page_names_is_there_and_may_be_kept_for_ever() {
    let stack = Stack::start().await;
    let post = stack.public_blog().post("A page").await;
    stack.public_blog().until_known(&post).await;
    for path in ["/".to_owned(), format!("/p/{post}"), "/nothing".to_owned()] {
        let page = stack.front_door().get(&path).header("accept", "text/html").send().await.text();
        let files = named_files(&page);
        let endings: BTreeSet<_> = files.iter().filter_map(|file| file.rsplit('.').next()).collect();
        assert_eq!(endings, BTreeSet::from(["css", "js", "wasm"]), "{path} names {files:?}");
        for file in &files {
            let answer = stack.front_door().get(file).send().await.expect(200);
            let media = match file.rsplit('.').next() {
                Some("css") => "text/css",
                Some("js") => "text/javascript",
                _ => "application/wasm",
            };
            assert!(answer.header("content-type").starts_with(media), "{file}: {:?}", answer.headers);
            let keep = answer.header("cache-control");
            assert!(keep.contains("immutable") && keep.contains("max-age=31536000"), "{file}: {keep}");
            assert!(answer.body.len() > 500, "{file} is empty");
            if media == "application/wasm" {
                assert!(answer.body.starts_with(b"\0asm"), "{file} is no WebAssembly");
            }
        }
    }
}

#[tokio::test]
async fn the_script_and_the_webassembly_of_a_page_stay_small() {
    let stack = Stack::start().await;
    let page = stack.front_door().get("/").send().await.expect(200).text();
    let mut sizes = Vec::new();
    for file in named_files(&page) {
        let answer = stack.front_door().get(&file).header("accept-encoding", "br").send().await.expect(200);
        assert_eq!(answer.header("content-encoding"), "br", "{file}");
        if file.rsplit('.').next() != Some("css") {
            sizes.push((file, answer.body.len()));
        }
    }
    assert_eq!(sizes.len(), 2, "script and WebAssembly: {sizes:?}");
    // A little more than they have now (82,013), so that whatever adds to the download of a reader is noticed.
    assert!(sizes.iter().map(|(_, bytes)| bytes).sum::<usize>() < 83_000, "{sizes:?}");
}

#[tokio::test]
async fn every_island_of_a_page_is_in_the_script_that_the_page_loads() {
    let stack = Stack::start().await;
    let post = stack.public_blog().post("A page").await;
    stack.public_blog().until_known(&post).await;
    let mut found = BTreeSet::new();
    for path in ["/".to_owned(), format!("/p/{post}")] {
        let page = stack.front_door().get(&path).send().await.expect(200).text();
        let islands = attributes(&page, "data-component");
        assert!(!islands.is_empty(), "{path} has no island: {page}");
        let files = named_files(&page);
        let script = files.iter().find(|file| file.rsplit('.').next() == Some("js")).expect("a script");
        let script = stack.front_door().get(script).send().await.expect(200).text();
        for island in islands {
            assert!(exports(&script, island), "{path}: {island} is not in the script");
            found.insert(island.to_owned());
        }
    }
    assert!(found.len() >= 2, "{found:?}");
}

#[tokio::test]
async fn a_page_brings_its_policy_and_no_script_that_it_does_not_name() {
    let stack = Stack::start().await;
    let answer = stack.front_door().get("/").send().await.expect(200);
    let policy = answer.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe-inline") && !policy.contains("'unsafe-eval'"), "{policy}");
    let page = answer.text();
    let scripts = page.matches("<script").count();
    assert!(scripts > 0 && policy.matches("'sha256-").count() == scripts, "{policy}\n{page}");
    assert!(!page.contains(" style=\"") && !page.contains(" onclick="), "{page}");
    assert_eq!(attributes(&page, "http-equiv"), [""; 0], "the policy is a header");
    assert!(!answer.header("cache-control").contains("public"), "{answer}");
}

#[tokio::test]
async fn everything_is_written_and_read_with_plain_forms() {
    let stack = Stack::start().await;
    let home = stack.front_door().get("/").send().await.expect(200).text();
    assert!(attributes(&home, "action").contains(&"/p/new"), "{home}");
    let fields = [("title", "By hand"), ("body", "some **bold** words"), ("author", "Ada & Söhne")];
    let answer = submit(&stack, "/p/new", &fields).await;
    let location = answer.header("location").to_owned();
    let page = follow(&stack, &answer).await.text();
    assert!(page.contains("By hand") && page.contains("<strong>bold</strong>"), "{page}");
    assert!(page.contains("Ada &amp; Söhne"), "{page}");
    let post = location.trim_start_matches("/p/").split(['?', '#']).next().expect("an id").to_owned();
    let action = format!("/p/{post}/comments");
    assert!(attributes(&page, "action").contains(&action.as_str()), "{page}");

    let answer =
        submit(&stack, &action, &[("content", "A comment\r\nof two lines"), ("author", "Bob")]).await;
    assert!(answer.header("location").starts_with(&format!("/p/{post}")), "{answer}");
    let page = follow(&stack, &answer).await;
    let comment = answer.header("location").rsplit('#').next().expect("an anchor").to_owned();
    assert!(page.text().contains(&format!("id=\"{comment}\"")), "{page}");
    assert!(page.text().contains("of two lines"), "{page}");
    assert!(page.header("cache-control").contains("no-store"), "what only its writer may read is not kept");
    let blog = stack.public_blog();
    let settled = blog.until_settled(&post, 1).await;
    assert_eq!(contents(&settled["comments"]), ["A comment\nof two lines"]);
    let home = stack.front_door().get("/").send().await.expect(200).text();
    assert!(home.contains("By hand") && home.contains(">1 comment<"), "{home}");
}

#[tokio::test]
async fn the_next_page_shows_what_was_just_written() {
    let stack = Stack::start().await;
    for n in 0..10 {
        let title = format!("Written a moment ago {n}");
        let answer = submit(&stack, "/p/new", &[("title", &title), ("body", ""), ("author", "")]).await;
        let page = follow(&stack, &answer).await;
        assert!(page.text().contains(&title), "{page}");
        let post = answer.header("location").split(['?', '#']).next().expect("a path").to_owned();
        let content = format!("A comment that nobody else can read yet {n}");
        let answer = submit(&stack, &format!("{post}/comments"), &[("content", &content)]).await;
        let page = follow(&stack, &answer).await;
        assert!(page.text().contains(&content), "{page}");
    }
}

#[tokio::test]
async fn a_form_that_was_refused_comes_back_with_its_text_and_what_is_wrong() {
    let stack = Stack::start().await;
    let post = stack.public_blog().post("For comments").await;
    stack.public_blog().until_known(&post).await;
    let long = "y".repeat(4_001);
    let comments = format!("/p/{post}/comments");
    let refused = async |path: &str, fields: &[(&str, &str)], shown: &[&str]| {
        let answer = submit(&stack, path, fields).await;
        assert_eq!(answer.status, 422, "{answer}");
        let page = answer.text();
        for text in shown {
            assert!(page.contains(text), "{text:?} is not in {page}");
        }
        assert_eq!(attributes(&page, "aria-invalid").len(), 1, "one field is wrong: {page}");
    };
    let fields = [("title", " "), ("body", "a long text"), ("author", "Ada")];
    refused("/p/new", &fields, &["must not be empty", "a long text", "Ada"]).await;
    let fields = [("title", "keep & me"), ("body", "b"), ("author", "a\u{202E}b")];
    refused("/p/new", &fields, &["must not contain", "keep &amp; me"]).await;
    let fields = [("content", long.as_str()), ("author", "Bob")];
    refused(&comments, &fields, &["must have at most 4000 characters", &long, "Bob"]).await;

    // A form that is sent twice creates one post.
    let fields = [("key", "one-key"), ("title", "Once"), ("body", ""), ("author", "")];
    let (first, second) = (submit(&stack, "/p/new", &fields).await, submit(&stack, "/p/new", &fields).await);
    assert_eq!(first.header("location"), second.header("location"));
    follow(&stack, &first).await;
    assert_eq!(stack.public_blog().read().await.as_object().map(serde_json::Map::len), Some(2));
    let other = [("key", "one-key"), ("title", "Another"), ("body", ""), ("author", "")];
    let page = submit(&stack, "/p/new", &other).await.expect(422).text();
    assert!(page.contains("value=\"Another\""), "{page}");
}

#[tokio::test]
async fn no_text_becomes_a_script_wherever_it_is_shown() {
    let stack = Stack::start().await;
    let evil = "</textarea></script></title><script>alert(1)</script><img src=x onerror=alert(1)>\"'";
    let body = format!(
        "{evil}\n\n[link](javascript:alert(1)) <b onclick=alert(1)>x</b> ![i](x \"onerror=alert(1)\")"
    );
    // 80 characters are the most that a name may have.
    let author = "</bdi><script>alert(1)</script>\"'";
    let answer = submit(&stack, "/p/new", &[("title", evil), ("body", &body), ("author", author)]).await;
    let location = answer.header("location").to_owned();
    let post = location.trim_start_matches("/p/").split(['?', '#']).next().expect("an id").to_owned();
    let mut pages = vec![follow(&stack, &answer).await.text()];
    let comments = format!("/p/{post}/comments");
    let answer = submit(&stack, &comments, &[("content", evil), ("author", author)]).await;
    pages.push(follow(&stack, &answer).await.text());
    stack.public_blog().until_settled(&post, 1).await;
    pages.push(stack.front_door().get("/").send().await.expect(200).text());
    pages.push(stack.front_door().get(&format!("/p/{post}")).send().await.expect(200).text());
    let too_long = evil.repeat(60);
    pages.push(
        submit(&stack, &comments, &[("content", &too_long), ("author", author)]).await.expect(422).text(),
    );
    pages.push(
        submit(&stack, "/p/new", &[("title", &too_long), ("body", &body), ("author", author)])
            .await
            .expect(422)
            .text(),
    );
    for page in &pages {
        let low = page.to_lowercase();
        assert!(
            page.contains("&lt;script&gt;alert(1)") || page.contains("&lt;script>alert(1)"),
            "it is shown: {page}"
        );
        assert!(
            !low.contains("<script>alert") && !low.contains("<img") && !low.contains("href=\"javascript"),
            "{page}"
        );
        assert!(!low.contains("<b onclick"), "{page}");
    }
}

#[tokio::test]
async fn the_list_goes_on_by_real_links() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let mut last = String::new();
    for n in 0..25 {
        last = blog.post(&format!("Numbered {n:02}")).await;
    }
    blog.until_known(&last).await;
    let first = stack.front_door().get("/").send().await.expect(200).text();
    assert!(
        first.contains("Numbered 24") && first.contains("Numbered 05") && !first.contains("Numbered 04"),
        "{first}"
    );
    let link =
        attributes(&first, "href").into_iter().find(|href| href.starts_with("/?cursor=")).expect("a link");
    let second = stack.front_door().get(&link.replace("&amp;", "&")).send().await.expect(200).text();
    assert!(
        second.contains("Numbered 04") && second.contains("Numbered 00") && !second.contains("Numbered 05")
    );
    assert!(!second.contains("/?cursor="), "there is no third page");
}

#[tokio::test]
async fn a_text_is_kept_when_the_service_that_should_take_it_is_down() {
    let stack = Stack::start().await;
    let blog = stack.public_blog();
    let post = blog.post("Readable").await;
    blog.until_known(&post).await;
    stack.kill(shared::ServiceName::Comments).await;
    stack.kill(shared::ServiceName::Posts).await;
    let comments = format!("/p/{post}/comments");
    let page =
        submit(&stack, &comments, &[("key", "again"), ("content", "not to be lost"), ("author", "Bob")])
            .await;
    assert_eq!(page.status, 503, "{page}");
    assert!(page.text().contains("not to be lost") && page.text().contains("Bob"), "{page}");
    let fields = [("title", "nor this"), ("body", "nor that"), ("author", "")];
    let page = submit(&stack, "/p/new", &fields).await;
    assert_eq!(page.status, 503, "{page}");
    assert!(page.text().contains("nor this") && page.text().contains("nor that"), "{page}");

    stack.start_service(shared::ServiceName::Comments).await;
    let fields = [("key", "again"), ("content", "not to be lost"), ("author", "Bob")];
    let answer = submit(&stack, &comments, &fields).await;
    follow(&stack, &answer).await;
    eventually(LIMIT, "it is there once", async || {
        holds(blog.comments(&post).await, |all| contents(all) == ["not to be lost"])
    })
    .await;
    assert!(!id_of(&blog.comments(&post).await[0]).is_empty());
}
