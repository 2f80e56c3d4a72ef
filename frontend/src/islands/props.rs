//! What the server hands to an island, and how little of it costs the browser anything.

use super::browser;
use leptos::prelude::use_context;
use serde::{Deserialize, Serialize, Serializer};

/// A property of an island. The server writes it into the page; the browser only reads it, but the macro would
/// have it write properties as well, so there this writes nothing and the code for it is left out.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct Handed<T>(pub T);

impl<T: Serialize> Serialize for Handed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if browser::HERE { serializer.serialize_unit() } else { self.0.serialize(serializer) }
    }
}

/// What a form holds at first. On the server it comes by context; the browser finds it in the page, and must not
/// be sent it twice.
pub(super) fn draft<T: Clone + Default + 'static>() -> T {
    if browser::HERE { T::default() } else { use_context().unwrap_or_default() }
}

#[cfg(all(test, not(feature = "hydrate")))]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_writes_is_what_the_browser_reads() {
        let json = serde_json::to_string(&Handed(vec![1, 2])).unwrap();
        assert_eq!(json, "[1,2]");
        assert_eq!(serde_json::from_str::<Handed<Vec<i32>>>(&json).unwrap().0, [1, 2]);
    }
}
