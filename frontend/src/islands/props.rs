//! What the server passes to an island.

use super::browser;
use leptos::prelude::use_context;
use serde::{Deserialize, Serialize, Serializer};

/// A property of an island. The server writes it into the page and the browser only reads it. The `island` macro makes
/// the browser able to write it too; an empty `Serialize` there keeps that code out of the download.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct IslandProps<T>(pub T);

impl<T: Serialize> Serialize for IslandProps<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if browser::IS_BROWSER { serializer.serialize_unit() } else { self.0.serialize(serializer) }
    }
}

/// The initial values of a form. On the server they come by context; the browser finds them in the fields, so they are
/// not sent a second time as properties.
pub(super) fn draft<T: Clone + Default + 'static>() -> T {
    if browser::IS_BROWSER { T::default() } else { use_context().unwrap_or_default() }
}

#[cfg(all(test, not(feature = "hydrate")))]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_writes_is_what_the_browser_reads() {
        let json = serde_json::to_string(&IslandProps(vec![1, 2])).unwrap();
        assert_eq!(json, "[1,2]");
        assert_eq!(serde_json::from_str::<IslandProps<Vec<i32>>>(&json).unwrap().0, [1, 2]);
    }
}
