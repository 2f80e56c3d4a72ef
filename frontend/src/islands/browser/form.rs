//! Plain forms, taken over by an island. What a reader typed is never touched before it has arrived.

use super::Listener;
use leptos::prelude::*;
use leptos::web_sys::HtmlElement;
use shared::{Problem, ProblemKind};
use wasm_bindgen::JsCast;
use web_sys::{FormData, HtmlFormElement, HtmlTextAreaElement, SubmitEvent};

/// Where a form stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Form {
    /// What is wrong with it.
    pub problem: Option<Problem>,
    /// Whether it is on its way.
    pub sending: bool,
    /// Counts what it has sent: each sending has an idempotency key of its own.
    pub sent: u32,
}

/// The texts of a form at the moment it was sent.
pub(crate) struct Fields {
    form: HtmlFormElement,
    texts: FormData,
    sent_before: u32,
}

impl Fields {
    /// The text of one field.
    pub(crate) fn text(&self, name: &str) -> String {
        self.texts.get(name).as_string().unwrap_or_default()
    }

    /// The form has arrived, and its reader goes to what came of it. Until then it cannot be sent again; but the
    /// browser may keep the page as it is, and show it again when the reader comes back.
    pub(crate) fn leave_for(self, page: &str, state: RwSignal<Form>) {
        let back = Listener::new(move |_| {
            self.form.reset();
            done(state, true, None);
        });
        // Refused by no browser; if one did, a page that was kept would have to be reloaded.
        let _ = window().add_event_listener_with_callback("pageshow", back.as_ref().unchecked_ref());
        // Lives as long as the page.
        back.forget();
        // Only a page that is being torn down refuses to be left.
        let _ = location().set_href(page);
    }

    /// The idempotency key: the page's own for the first sending, then `key.1`, `key.2`, …
    pub(crate) fn key(&self) -> String {
        numbered(self.text("key"), self.sent_before)
    }
}

fn numbered(key: String, sent_before: u32) -> String {
    if sent_before == 0 { key } else { format!("{key}.{sent_before}") }
}

/// Takes a form over from the browser. Nothing if it is on its way already, or cannot be read: then the browser
/// sends it as it would without script.
pub(crate) fn take_over(event: &SubmitEvent, state: RwSignal<Form>) -> Option<Fields> {
    let Form { sending, sent, .. } = *state.read_untracked();
    if sending {
        event.prevent_default();
        return None;
    }
    // What is submitted is a form.
    let form: HtmlFormElement = event.target()?.unchecked_into();
    let texts = FormData::new_with_form(&form).ok()?;
    event.prevent_default();
    state.write().sending = true;
    Some(Fields { form, texts, sent_before: sent })
}

/// A field of ours, which is of the kind that it was made as.
fn element<T: JsCast>(form: &str, name: &str) -> Option<T> {
    Some(document().get_element_by_id(&format!("{form}-{name}"))?.unchecked_into())
}

/// The form was refused: says why, and goes to the first field that is wrong. Every text stays.
pub(crate) fn refused(form: &str, state: RwSignal<Form>, problem: Problem) {
    // A key that was refused for itself is used up. With any other refusal the attempt may yet have arrived, and
    // sending it again must find it.
    let used_up = problem.status == ProblemKind::Invalid.status() && problem.errors.is_empty();
    let first = problem.errors.first().and_then(|e| e.pointer.strip_prefix('/')).map(ToOwned::to_owned);
    done(state, used_up, Some(problem));
    if let Some(wrong) = first.and_then(|name| element::<HtmlElement>(form, &name)) {
        // An element that cannot take the focus is no reason to fail.
        let _ = wrong.focus();
    }
}

/// The form has arrived, and may be used again. Empties the text that was sent, unless its writer has gone on
/// writing.
pub(crate) fn arrived(form: &str, state: RwSignal<Form>, name: &str, sent: &str) {
    done(state, true, None);
    if let Some(area) = element::<HtmlTextAreaElement>(form, name) {
        // A form sends line breaks in their long form.
        let same = |c: &char| *c != '\r';
        if area.value().chars().filter(same).eq(sent.chars().filter(same)) {
            area.set_value("");
        }
    }
}

fn done(state: RwSignal<Form>, next: bool, problem: Option<Problem>) {
    state.update(|form| *form = Form { problem, sending: false, sent: form.sent + u32::from(next) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sending_has_a_key_of_its_own() {
        let keys = [0, 1, 2].map(|sent| numbered("k".to_owned(), sent));
        assert_eq!(keys, ["k", "k.1", "k.2"]);
    }
}
