//! What a writer is told when a form could not be sent. In every case the text is kept, and the notice says so.

use shared::{Problem, ProblemKind};

/// The sentence above a form that was refused; nothing where the sentences beside the fields say it all.
pub(crate) fn sentence(problem: &Problem) -> Option<String> {
    let text = match problem.status {
        422 if !problem.errors.is_empty() => return None,
        // Not the fields: this form was sent before, with another text.
        422 => "You have sent this form before, with another text. Send it again to publish this text as well.",
        404 => "This post cannot be found any more. Your text is still here.",
        413 => "This is too long to be sent. Your text is still here: shorten it, then send it again.",
        429 => "That was a little fast. Your text is still here: wait a moment, then send it again.",
        500.. => "This cannot be saved at the moment. Your text is still here: try again in a moment.",
        _ => return Some(problem.detail.clone().unwrap_or_else(|| problem.title.clone())),
    };
    Some(text.to_owned())
}

/// The problem in an answer that is not a success, whatever its body is.
pub(crate) fn problem_of(status: u16, body: &str) -> Problem {
    let told: Option<Problem> = serde_json::from_str(body).ok();
    told.filter(|problem| problem.status == status).unwrap_or_else(|| {
        let kind = ProblemKind::ALL.into_iter().find(|kind| kind.status() == status);
        Problem::new(kind.unwrap_or(ProblemKind::Unavailable))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::FieldError;

    #[test]
    fn only_fields_speak_for_themselves() {
        let field = Problem::invalid(vec![FieldError::new("title", "must not be empty")]);
        assert_eq!(sentence(&field), None);
        for kind in ProblemKind::ALL {
            assert!(sentence(&Problem::new(kind)).is_some_and(|text| !text.is_empty()), "{kind:?}");
        }
    }

    #[test]
    fn an_answer_that_is_no_problem_becomes_one() {
        assert_eq!(problem_of(413, "<html>").kind, ProblemKind::TooLarge.uri());
        assert_eq!(problem_of(502, "").kind, ProblemKind::Unavailable.uri());
        // A body that contradicts its status is not believed.
        let lie = serde_json::to_string(&Problem::new(ProblemKind::NotFound)).unwrap();
        assert_eq!(problem_of(503, &lie).kind, ProblemKind::Unavailable.uri());
        let told = Problem::new(ProblemKind::TooManyRequests).with_detail("slower");
        assert_eq!(problem_of(429, &serde_json::to_string(&told).unwrap()), told);
    }
}
