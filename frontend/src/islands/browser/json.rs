//! Reads JSON with the browser's own parser. Why a text cannot be read is of no use to a page, and without the messages
//! about it a reader downloads less.

#[cfg(feature = "hydrate")]
pub(crate) use in_browser::parse;

use serde::de::DeserializeOwned;

/// On the server.
#[cfg(not(feature = "hydrate"))]
pub(crate) fn parse<T: DeserializeOwned>(json: &str) -> Option<T> {
    serde_json::from_str(json).ok()
}

#[cfg(feature = "hydrate")]
mod in_browser {
    use super::DeserializeOwned;
    use serde::de::value::{MapDeserializer, SeqDeserializer};
    use serde::de::{self, Deserializer, IntoDeserializer, Visitor};
    use serde::forward_to_deserialize_any;
    use std::fmt;
    use wasm_bindgen::JsValue;
    use web_sys::js_sys::{Array, JSON, Reflect};

    pub(crate) fn parse<T: DeserializeOwned>(json: &str) -> Option<T> {
        T::deserialize(Value(JSON::parse(json).ok()?)).ok()
    }

    /// A text that cannot be read, without the reason.
    #[derive(Debug)]
    struct Unreadable;

    impl fmt::Display for Unreadable {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            Ok(())
        }
    }

    impl std::error::Error for Unreadable {}

    impl de::Error for Unreadable {
        fn custom<T: fmt::Display>(_: T) -> Self {
            Self
        }
    }

    /// What the parser returns. Numbers are whole and not negative, and objects are structs: the pages need no others.
    struct Value(JsValue);

    impl Value {
        /// The members of an object that it has. (Here and not in `deserialize_struct`, where each type would get a copy.)
        fn members(&self, fields: &'static [&'static str]) -> Result<Vec<(&'static str, Self)>, Unreadable> {
            if !self.0.is_object() {
                return Err(Unreadable);
            }
            let mut members = Vec::new();
            for name in fields {
                let value = Reflect::get(&self.0, &JsValue::from_str(name)).unwrap_or_default();
                if !value.is_undefined() {
                    members.push((*name, Self(value)));
                }
            }
            Ok(members)
        }
    }

    impl IntoDeserializer<'_, Unreadable> for Value {
        type Deserializer = Self;

        fn into_deserializer(self) -> Self {
            self
        }
    }

    impl<'de> Deserializer<'de> for Value {
        type Error = Unreadable;

        fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
            if let Some(text) = self.0.as_string() {
                visitor.visit_string(text)
            } else if let Some(number) = self.0.as_f64() {
                let whole = number.fract() == 0.0 && number >= 0.0;
                if whole { visitor.visit_u64(number as u64) } else { Err(Unreadable) }
            } else if let Some(yes) = self.0.as_bool() {
                visitor.visit_bool(yes)
            } else if Array::is_array(&self.0) {
                visitor.visit_seq(SeqDeserializer::new(Array::from(&self.0).iter().map(Value)))
            } else {
                Err(Unreadable)
            }
        }

        fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
            if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Unreadable> {
            visitor.visit_map(MapDeserializer::new(self.members(fields)?.into_iter()))
        }

        fn deserialize_newtype_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            visitor: V,
        ) -> Result<V::Value, Unreadable> {
            visitor.visit_newtype_struct(self)
        }

        fn deserialize_enum<V: Visitor<'de>>(
            self,
            _: &'static str,
            _: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Unreadable> {
            visitor.visit_enum(self.0.as_string().ok_or(Unreadable)?.into_deserializer())
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
            tuple_struct map identifier ignored_any
        }
    }
}
