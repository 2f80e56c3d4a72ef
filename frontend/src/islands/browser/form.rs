//! Plain forms that an island takes over. What a user typed stays in its field until it has been stored.

use crate::islands::browser;
use leptos::prelude::*;
use leptos::web_sys::HtmlElement;
use shared::{Problem, ProblemKind};
use wasm_bindgen::JsCast;
use web_sys::{FormData, HtmlFormElement, HtmlTextAreaElement, SubmitEvent, js_sys};

#[derive(Debug, Clone, Default)]
pub(crate) struct Form {
    /// Why the last submission was refused.
    pub problem: Option<Problem>,
    /// Whether a request is under way.
    pub sending: bool,
    /// How many submissions are settled (stored, or refused for good): the next one needs a new idempotency key.
    pub sent: u32,
    /// Makes the keys of this form in this page different from those in other tabs, which may have got the same page from
    /// the browser's cache. Nothing after a refusal: what is sent now may be the same attempt.
    page: Option<u32>,
}

impl Form {
    /// A form, and why the server has refused it, if it has.
    pub(crate) fn new(problem: Option<Problem>) -> Self {
        let is_fresh = browser::IS_BROWSER && problem.is_none();
        let page = is_fresh.then(|| (js_sys::Math::random() * f64::from(u32::MAX)) as u32);
        Self { problem, page, ..Self::default() }
    }
}

/// The values of a form at the moment of its submission.
pub(crate) struct Fields {
    values: FormData,
    page: Option<u32>,
    sent_before: u32,
}

impl Fields {
    pub(crate) fn text(&self, name: &str) -> String {
        self.values.get(name).as_string().unwrap_or_default()
    }

    /// The idempotency key: that of the form's hidden field with the number of the page, and from the second submission on
    /// with that of the submission.
    pub(crate) fn key(&self) -> String {
        numbered(numbered(self.text("key"), self.page.unwrap_or_default()), self.sent_before)
    }
}

fn numbered(key: String, number: u32) -> String {
    if number == 0 { key } else { format!("{key}.{number}") }
}

/// Takes over a submission. `None` if one is under way already, or if the form cannot be read; the browser then submits
/// it as it would without script.
pub(crate) fn take_over(event: &SubmitEvent, state: RwSignal<Form>) -> Option<Fields> {
    let Form { sending, sent, page, .. } = *state.read_untracked();
    if sending {
        event.prevent_default();
        return None;
    }
    // The target of a submit event is a form.
    let form: HtmlFormElement = event.target()?.unchecked_into();
    let values = FormData::new_with_form(&form).ok()?;
    event.prevent_default();
    state.write().sending = true;
    Some(Fields { values, page, sent_before: sent })
}

/// The element of a field, whose type the caller knows from the markup.
fn element<T: JsCast>(form: &str, name: &str) -> Option<T> {
    Some(document().get_element_by_id(&format!("{form}-{name}"))?.unchecked_into())
}

/// Shows why the form was refused, and moves the focus to the first field that is wrong. Every text stays.
pub(crate) fn refused(form: &str, state: RwSignal<Form>, problem: Problem) {
    // A 422 without fields is about the key: it was used for another text. After any other refusal the first attempt
    // may still have been stored, and sending the form again must be recognised as the same attempt.
    let key_is_used = problem.status == ProblemKind::Invalid.status() && problem.errors.is_empty();
    let first = problem.errors.first().and_then(|e| e.pointer.strip_prefix('/')).map(ToOwned::to_owned);
    finish(state, key_is_used, Some(problem));
    if let Some(wrong) = first.and_then(|name| element::<HtmlElement>(form, &name)) {
        // An element that cannot take the focus is no reason to fail.
        let _ = wrong.focus();
    }
}

/// The form was stored and can be used again. Clears the given fields, unless their writer has typed on meanwhile.
pub(crate) fn stored(form: &str, state: RwSignal<Form>, sent: &[(&str, &str)]) {
    finish(state, true, None);
    for (name, sent) in sent {
        // `value` is the same property for text areas and inputs.
        let Some(field) = element::<HtmlTextAreaElement>(form, name) else { continue };
        // Forms submit line breaks as CR LF.
        let visible = |c: &char| *c != '\r';
        if field.value().chars().filter(visible).eq(sent.chars().filter(visible)) {
            field.set_value("");
        }
    }
}

fn finish(state: RwSignal<Form>, next_key: bool, problem: Option<Problem>) {
    state.update(|form| {
        *form = Form { problem, sending: false, sent: form.sent + u32::from(next_key), page: form.page };
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_submission_has_a_key_of_its_own() {
        let keys = [0, 1, 2].map(|sent| numbered("k".to_owned(), sent));
        assert_eq!(keys, ["k", "k.1", "k.2"]);
    }
}
