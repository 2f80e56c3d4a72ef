//! The pages, rendered on the server from data that is already loaded.

mod home;
mod layout;
mod page;
mod post;
mod status;

pub(crate) use home::home;
pub(crate) use layout::{Assets, Frame, document};
pub(crate) use page::Page;
pub(crate) use post::post;
pub(crate) use status::{
    comment_form_alone, failure_page, not_found, on_its_way, unavailable, unreadable_form,
};
