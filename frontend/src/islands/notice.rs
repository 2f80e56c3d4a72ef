//! What a writer is told when a form could not be sent. In every case the text is kept, and the notice says so.

use shared::Problem;

/// The sentence above a form that was refused; empty where the sentences beside the fields say it all.
pub(crate) fn sentence(problem: &Problem) -> &'static str {
    match problem.status {
        422 if !problem.errors.is_empty() => "",
        // Not the fields: this form was sent before, with another text.
        422 => {
            "You have sent this form before, with another text. Send it again to publish this text as well."
        }
        404 => "This post cannot be found any more. Your text is still here.",
        413 => "This is too long to be sent. Your text is still here: shorten it, then send it again.",
        429 => "That was a little fast. Your text is still here: wait a moment, then send it again.",
        500.. => "This cannot be saved at the moment. Your text is still here: try again in a moment.",
        _ => "This was not accepted. Your text is still here: reload the page in another tab and try there.",
    }
}

/// The problem in an answer that is not a success, whatever its body is.
pub(crate) fn problem_of(status: u16, body: &str) -> Problem {
    let told: Option<Problem> = serde_json::from_str(body).ok();
    told.filter(|problem| problem.status == status).unwrap_or_else(|| bare(status))
}

/// A problem of which only the status is known. (No look into the list of problems: its sentences are not shown,
/// and need not be in what readers download.)
pub(crate) fn bare(status: u16) -> Problem {
    Problem { kind: "about:blank".to_owned(), title: String::new(), status, detail: None, errors: Vec::new() }
}

/// Nobody answered, or nothing that can be read.
pub(crate) fn unavailable() -> Problem {
    bare(503)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::{FieldError, ProblemKind};

    #[test]
    fn only_fields_speak_for_themselves() {
        let field = Problem::invalid(vec![FieldError::new("title", "must not be empty")]);
        assert_eq!(sentence(&field), "");
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
        let told = Problem::new(ProblemKind::TooManyRequests).with_detail("slower");
        assert_eq!(problem_of(429, &serde_json::to_string(&told).unwrap()), told);
    }
}
