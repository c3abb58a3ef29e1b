//! A request's JSON, taken apart field by field.
//!
//! Every field of a request is taken, ignored by a list, refused by a list, or an error: nothing that a client sends is
//! silently without effect. `null` is the same as absent.

use crate::error::ApiError;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};
use std::ops::RangeInclusive;

/// The fields that are left of an object.
#[derive(Debug)]
pub struct Fields {
    map: Map<String, Json>,
    /// Where the object stands, as a prefix of its fields' names.
    path: String,
}

impl Fields {
    /// Reads a body.
    ///
    /// # Errors
    /// It is no JSON object; says where.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let value = serde_json::from_slice(body).map_err(|e| ApiError::bad(format!("the body is no JSON: {e}")))?;
        match value {
            Json::Object(map) => Ok(Fields { map, path: String::new() }),
            other => Err(ApiError::bad(format!("the body is {}, expected an object", name_of(&other)))),
        }
    }

    /// The object that stands at `path`.
    ///
    /// # Errors
    /// It is something else.
    pub fn of(value: Json, path: &str) -> Result<Self, ApiError> {
        match value {
            Json::Object(map) => Ok(Fields { map, path: format!("{path}.") }),
            other => Err(ApiError::field(path, format!("{path} is {}, expected an object", name_of(&other)))),
        }
    }

    /// Takes a field out.
    ///
    /// # Errors
    /// It is there and of another type; names both.
    pub fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        match self.map.remove(name) {
            None | Some(Json::Null) => Ok(None),
            Some(value) => {
                let kind = name_of(&value);
                let wrong = |error: serde_json::Error| {
                    let path = self.name(name);
                    ApiError::field(&path, format!("{path} is {kind} that cannot be used: {error}"))
                };
                serde_json::from_value(value).map(Some).map_err(wrong)
            }
        }
    }

    /// Takes a field out that has to be there.
    ///
    /// # Errors
    /// It is not there, or of another type.
    pub fn need<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, ApiError> {
        let path = self.name(name);
        self.take(name)?.ok_or_else(|| ApiError::field(&path, format!("{path} is missing")))
    }

    /// Takes a number out that has to lie in a range.
    ///
    /// # Errors
    /// It is no number or lies outside.
    pub fn within<T>(&mut self, name: &str, range: RangeInclusive<T>) -> Result<Option<T>, ApiError>
    where
        T: DeserializeOwned + PartialOrd + std::fmt::Display,
    {
        let Some(value) = self.take::<T>(name)? else { return Ok(None) };
        if range.contains(&value) {
            return Ok(Some(value));
        }
        let path = self.name(name);
        let (low, high) = (range.start(), range.end());
        Err(ApiError::field(&path, format!("{path} is {value}, expected {low} to {high}")))
    }

    /// Takes an object out.
    ///
    /// # Errors
    /// It is something else.
    pub fn object(&mut self, name: &str) -> Result<Option<Fields>, ApiError> {
        let path = self.name(name);
        self.take::<Json>(name)?.map(|value| Fields::of(value, &path)).transpose()
    }

    /// Lets go of fields that have no meaning here, and may be sent all the same.
    pub fn ignore(&mut self, names: &[&str]) {
        names.iter().for_each(|name| drop(self.map.remove(*name)));
    }

    /// Refuses fields whose meaning cannot be honoured, unless they ask for nothing.
    ///
    /// # Errors
    /// One of them is there.
    pub fn refuse(&mut self, names: &[(&str, &str)]) -> Result<(), ApiError> {
        for (name, why) in names {
            let nothing = |value: &Json| match value {
                Json::Null | Json::Bool(false) => true,
                Json::Array(list) => list.is_empty(),
                _ => false,
            };
            if self.map.remove(*name).is_some_and(|value| !nothing(&value)) {
                let path = self.name(name);
                return Err(ApiError::field(&path, format!("{path} cannot be used here: {why}"))
                    .with_code("unsupported_parameter"));
            }
        }
        Ok(())
    }

    /// Everything has been taken.
    ///
    /// # Errors
    /// A field is left that means nothing here.
    pub fn done(self) -> Result<(), ApiError> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(name) => {
                let path = self.name(name);
                Err(ApiError::field(&path, format!("{path} is not a field of this request; leave it out"))
                    .with_code("unknown_parameter"))
            }
        }
    }

    /// The full name of a field.
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }
}

/// What a value is, with its article.
pub fn name_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::parse(text.as_bytes()).expect("an object")
    }

    #[test]
    fn nothing_that_was_sent_is_silently_without_effect() {
        let mut f =
            fields(r#"{"temperature": 3, "user": "me", "audio": {"voice": "x"}, "store": false, "seed": null}"#);
        let error = f.within("temperature", 0.0..=2.0).expect_err("too hot");
        assert_eq!(error.param.as_deref(), Some("temperature"));
        assert_eq!(error.message, "temperature is 3, expected 0 to 2");
        assert_eq!(f.take::<u64>("seed"), Ok(None));
        f.ignore(&["user"]);
        assert_eq!(f.refuse(&[("store", "nothing is kept")]), Ok(()));
        assert_eq!(f.refuse(&[("audio", "no sound")]).expect_err("refused").code, Some("unsupported_parameter"));
        assert_eq!(f.done(), Ok(()));
        assert_eq!(fields(r#"{"tempreature": 1}"#).done().expect_err("unknown").param.as_deref(), Some("tempreature"));
    }

    #[test]
    fn errors_name_the_whole_path() {
        let mut f = fields(r#"{"response_format": {"type": 5}}"#);
        let mut inner = f.object("response_format").expect("an object").expect("is there");
        let error = inner.need::<String>("type").expect_err("no string");
        assert_eq!(error.param.as_deref(), Some("response_format.type"));
        assert!(error.message.starts_with("response_format.type is a number"), "{}", error.message);
        assert_eq!(inner.need::<String>("schema").expect_err("absent").message, "response_format.schema is missing");
        assert!(Fields::parse(b"[1]").expect_err("a list").message.contains("an array, expected an object"));
    }
}
