//! What a reader is sent. Pages are made whole, from data that is already there; no page knows how it was loaded.

mod home;
mod layout;
mod page;
mod post;
mod status;

pub(crate) use home::home;
pub(crate) use layout::{Assets, Frame, document};
pub(crate) use page::Page;
pub(crate) use post::post;
pub(crate) use status::{comment_form_alone, not_found, on_its_way, unavailable, unreadable_form};
