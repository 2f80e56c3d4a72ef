//! Plain forms, taken over by an island. What a reader typed is never touched before it has arrived.

use leptos::prelude::*;
use leptos::web_sys::HtmlElement;
use shared::{Problem, ProblemKind};
use wasm_bindgen::JsCast;
use web_sys::{FormData, HtmlFormElement, HtmlTextAreaElement, SubmitEvent};

/// The texts of a form at the moment it was sent.
pub(crate) struct Fields(FormData);

impl Fields {
    /// The text of one field.
    pub(crate) fn text(&self, name: &str) -> String {
        self.0.get(name).as_string().unwrap_or_default()
    }
}

/// Takes a form over from the browser. Nothing if it is on its way already, or cannot be read: then the browser
/// sends it as it would without script.
pub(crate) fn take_over(event: &SubmitEvent, sending: RwSignal<bool>) -> Option<Fields> {
    if sending.get_untracked() {
        event.prevent_default();
        return None;
    }
    let form: HtmlFormElement = event.target()?.dyn_into().ok()?;
    let fields = FormData::new_with_form(&form).ok()?;
    event.prevent_default();
    sending.set(true);
    Some(Fields(fields))
}

fn field<T: JsCast>(form: &str, name: &str) -> Option<T> {
    document().get_element_by_id(&format!("{form}-{name}"))?.dyn_into().ok()
}

/// Shows why a form was refused, and goes to the first field that is wrong.
pub(crate) fn show(form: &str, problem: RwSignal<Option<Problem>>, refused: Problem) {
    let first = refused.errors.first().and_then(|e| e.pointer.strip_prefix('/')).map(ToOwned::to_owned);
    problem.set(Some(refused));
    if let Some(wrong) = first.and_then(|name| field::<HtmlElement>(form, &name)) {
        // An element that cannot take the focus is no reason to fail.
        let _ = wrong.focus();
    }
}

/// Empties a text that has arrived, unless its writer has gone on writing.
pub(crate) fn clear(form: &str, name: &str, sent: &str) {
    if let Some(area) = field::<HtmlTextAreaElement>(form, name) {
        let same = |c: &char| *c != '\r';
        if area.value().chars().filter(same).eq(sent.chars().filter(same)) {
            area.set_value("");
        }
    }
}

/// Leaves for another page.
pub(crate) fn go_to(page: &str) {
    // Only a page that is being torn down refuses.
    let _ = location().set_href(page);
}

/// The idempotency key of a form: the same for every attempt at one sending, another for the next.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    base: String,
    turn: u32,
}

impl Key {
    /// Starts with the key that the page came with.
    pub(crate) fn new(base: String) -> Self {
        Self { base, turn: 0 }
    }

    /// The key of the sending under way.
    pub(crate) fn current(&self) -> String {
        if self.turn == 0 { self.base.clone() } else { format!("{}.{}", self.base, self.turn) }
    }

    /// Goes on to the next sending.
    pub(crate) fn renew(&mut self) {
        self.turn += 1;
    }

    /// Goes on after a refusal. A key that was refused for itself is used up; with any other refusal the attempt
    /// may yet have arrived, and sending it again must find it.
    pub(crate) fn after(&mut self, refused: &Problem) {
        if refused.status == ProblemKind::Invalid.status() && refused.errors.is_empty() {
            self.renew();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::FieldError;

    #[test]
    fn a_key_lasts_for_every_attempt_at_one_sending() {
        let mut key = Key::new("k".into());
        for kind in ProblemKind::ALL.into_iter().filter(|kind| *kind != ProblemKind::Invalid) {
            key.after(&Problem::new(kind));
        }
        key.after(&Problem::invalid(vec![FieldError::new("content", "must not be empty")]));
        assert_eq!(key.current(), "k");
        key.after(&Problem::invalid(Vec::new()));
        assert_eq!(key.current(), "k.1");
        key.renew();
        assert_eq!(key.current(), "k.2");
    }
}
