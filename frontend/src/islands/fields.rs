//! The parts of both forms.

use super::browser;
use super::browser::form::Form;
use super::notice;
use leptos::either::Either;
use leptos::prelude::*;
use shared::text::Limits;

/// The text inside a `<textarea>`. Leptos does not escape it, so it is escaped here. The parser drops one line break
/// right after the tag, so one is always added. (By hand, since `html-escape` would go into the browser's download.)
fn textarea_text(text: &str) -> String {
    format!("\n{}", text.replace('&', "&amp;").replace('<', "&lt;"))
}

/// The initial values of a form. On the server they come by context; the browser finds them in the fields, so they are
/// not sent a second time as properties.
pub(super) fn draft<T: Clone + Default + 'static>() -> T {
    if browser::IS_BROWSER { T::default() } else { use_context().unwrap_or_default() }
}

/// A labelled field with its hint and its error.
#[component]
pub(super) fn Field(
    /// The ids of its elements begin with this.
    form: &'static str,
    limits: Limits,
    label: &'static str,
    #[prop(optional)] hint: Option<&'static str>,
    value: String,
    /// For a field of several lines.
    #[prop(default = 1)]
    rows: u8,
    state: RwSignal<Form>,
) -> impl IntoView {
    let id = format!("{form}-{}", limits.field);
    let described_by = if hint.is_some() { format!("{id}-hint {id}-error") } else { format!("{id}-error") };
    let hint = hint.map(|hint| {
        view! {
            <p class="hint" id=format!("{id}-hint")>
                {hint}
            </p>
        }
    });
    // Empty texts instead of `None`: each type of child brings its own code.
    let error = move || {
        let form = state.read();
        let detail = form.problem.as_ref().and_then(|problem| problem.error_of(limits.field));
        detail.map(|detail| format!("{label} {detail}.")).unwrap_or_default()
    };
    let valid = move || error().is_empty();
    let invalid = move || (!valid()).then_some("true");
    let required = limits.min > 0;
    // Only on a page that the server returns; in the browser the island moves the focus.
    let first_wrong = state.with_untracked(|form| {
        let first = form.problem.as_ref().and_then(|problem| problem.errors.first());
        first.is_some_and(|error| error.pointer.strip_prefix('/') == Some(limits.field))
    });
    let control = if limits.multiline {
        Either::Left(view! {
            <textarea
                id=id.clone()
                name=limits.field
                rows=rows.to_string()
                required=required
                autofocus=first_wrong
                aria-describedby=described_by
                aria-invalid=invalid
            >
                {textarea_text(&value)}
            </textarea>
        })
    } else {
        Either::Right(view! {
            <input
                type="text"
                id=id.clone()
                name=limits.field
                value=value
                required=required
                autofocus=first_wrong
                autocomplete=if limits.field == "author" { "nickname" } else { "off" }
                aria-describedby=described_by
                aria-invalid=invalid
            />
        })
    };
    view! {
        <div class="field">
            <label for=id.clone()>{label}</label>
            {control}
            {hint}
            <p class="error" id=format!("{id}-error") hidden=valid>
                {error}
            </p>
        </div>
    }
}

/// The message of a form that was refused, and its button.
#[component]
pub(super) fn SubmitButton(label: &'static str, state: RwSignal<Form>) -> impl IntoView {
    let sentence = move || state.read().problem.as_ref().map(notice::sentence).unwrap_or_default().to_owned();
    let words = move || if state.read().sending { "Sending…" } else { label }.to_owned();
    view! {
        <p class="refused" role="alert" hidden=move || sentence().is_empty()>
            {sentence}
        </p>
        <button type="submit" aria-disabled=move || state.read().sending.then_some("true")>
            {words}
        </button>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_textarea() {
        assert_eq!(textarea_text("</textarea><script>"), "\n&lt;/textarea>&lt;script>");
        assert_eq!(textarea_text("\n&lt;"), "\n\n&amp;lt;");
    }
}
