//! The message above a form that was refused. The text is kept in every case.

use super::browser::json;
use shared::Problem;

/// Empty where the messages beside the fields say everything.
pub(crate) fn sentence(problem: &Problem) -> &'static str {
    match problem.status {
        422 if !problem.errors.is_empty() => "",
        // Not about a field: the idempotency key was used before, with different text.
        422 => {
            "You already submitted this form with different text. Submit it again to publish this text as well."
        }
        404 => "This post can no longer be found. Your text is still here.",
        504 => {
            "The server took too long to answer. Your text is still here: send it again. It will be published only \
             once, even if the first attempt got through."
        }
        413 => "This is too long to send. Your text is still here: shorten it, then send it again.",
        429 => "You are sending too fast. Your text is still here: wait a moment, then send it again.",
        500.. => "This cannot be saved at the moment. Your text is still here: try again in a moment.",
        _ => {
            "We couldn't accept this. Your text is still here: reload the page in a new tab and try again there."
        }
    }
}

/// The problem in an unsuccessful answer, whatever its body is.
pub(crate) fn problem_of(status: u16, body: &str) -> Problem {
    let problem: Option<Problem> = json::parse(body);
    problem.filter(|problem| problem.status == status).unwrap_or_else(|| bare(status))
}

/// A problem of which only the status is known. (Not looked up in the list of problems: its sentences are not shown,
/// and readers need not download them.)
fn bare(status: u16) -> Problem {
    Problem { kind: "about:blank".to_owned(), title: String::new(), status, detail: None, errors: Vec::new() }
}

/// There was no answer, or none that can be read.
pub(crate) fn unavailable() -> Problem {
    bare(503)
}

/// There was no complete answer in time. Unlike a 503, the request may have been carried out.
pub(crate) fn timed_out() -> Problem {
    bare(504)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::{FieldError, ProblemKind};

    #[test]
    fn only_errors_of_fields_need_no_sentence() {
        let field = Problem::invalid(vec![FieldError::new("title", "must not be empty")]);
        assert_eq!(sentence(&field), "");
        assert!(sentence(&timed_out()).contains("text"));
        for kind in ProblemKind::ALL {
            let text = sentence(&Problem::new(kind));
            assert!(text.contains("text"), "{kind:?}: {text}");
        }
    }

    #[test]
    fn an_answer_that_is_no_problem_becomes_one() {
        assert_eq!(problem_of(413, "<html>"), bare(413));
        assert_eq!(problem_of(502, "").status, 502);
        // A body that contradicts its status is not believed.
        let lie = serde_json::to_string(&Problem::new(ProblemKind::NotFound)).unwrap();
        assert_eq!(problem_of(503, &lie), bare(503));
        let problem = Problem::new(ProblemKind::TooManyRequests).with_detail("slower");
        assert_eq!(problem_of(429, &serde_json::to_string(&problem).unwrap()), problem);
    }
}
