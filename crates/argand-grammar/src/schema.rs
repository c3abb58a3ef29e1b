//! JSON schemas before they are compiled: what cannot be enforced is refused with its place, and what is said in words that
//! the compiler does not take is said in others.
//!
//! The compiler overlooks some of what it does not know, or says no more than that something is wrong; whatever passes here
//! is enforced to the letter.

use crate::grammar::{Bounds, bounded};
use crate::{GrammarError, oneof};
use llguidance::JsonCompileOptions;
use serde_json::{Map, Value as Json};
use std::collections::BTreeSet;

/// What stands between two items and between a name and its value. There are no other blanks in an answer, for a model that may
/// write some may go on with them.
const SEPARATORS: [&str; 2] = [", ?", ": ?"];
/// Escapes in strings. Not `\u`, which could write the name of a property in a way that none of the others recognises.
const ESCAPES: &str = "nrbtf\\\"";
/// Formats of strings that are enforced.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];
/// Optional properties of an object; each costs four items of the parser, which has 2,000 for what may come next.
const OPTIONAL: usize = 450;
/// No output is as long; a bound from here on says nothing.
const ENDLESS: u64 = 10_000_000;
/// Integers below are told apart from their neighbours by the compiler, which reads numbers as f64.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Keywords that describe sets of values no grammar has, and what to do without them.
const NEVER: [(&str, &str); 16] = [
    ("not", "say what is allowed instead"),
    ("if", "use anyOf with the cases"),
    ("then", "use anyOf with the cases"),
    ("else", "use anyOf with the cases"),
    ("dependentSchemas", "use anyOf with the cases"),
    ("dependentRequired", "use anyOf with the cases"),
    ("dependencies", "use anyOf with the cases"),
    ("contains", "only `items` and `prefixItems` say what is in an array"),
    ("minContains", "only `items` and `prefixItems` say what is in an array"),
    ("maxContains", "only `items` and `prefixItems` say what is in an array"),
    ("uniqueItems", "a grammar does not remember items; leave it out and check the answer"),
    ("propertyNames", "use patternProperties with additionalProperties false"),
    ("unevaluatedItems", "use items"),
    ("unevaluatedProperties", "use additionalProperties"),
    ("$dynamicRef", "use $ref"),
    ("$recursiveRef", "use $ref"),
];

/// The schema for the compiler.
///
/// # Errors
/// What in it cannot be enforced or is malformed, and where.
pub(crate) fn prepare(schema: &Json, bounds: &Bounds) -> Result<Json, GrammarError> {
    // Before anything walks it to its end. Constants and annotations may be deeper than schemas, each of which is a level or two.
    if deeper(schema, 4 * bounds.depth) {
        return Err(GrammarError::TooDeep { at: "#".into(), most: bounds.depth });
    }
    bounded(schema.to_string().len(), bounds)?;
    let mut walk = Walk { root: schema, bounds, schemas: 0, seen: BTreeSet::new(), waiting: Vec::new(), old: false };
    let draft = schema.get("$schema").and_then(Json::as_str).unwrap_or_default();
    walk.old = ["draft-04", "draft-06", "draft-07", "2019-09"].iter().any(|name| draft.contains(name));
    let mut prepared = walk.schema(schema, "#", 0)?;
    // What is referred to need not lie where schemas are looked for.
    while let Some((target, from)) = walk.waiting.pop() {
        if walk.seen.insert(target.clone()) {
            let found = resolve(schema, &target).ok_or_else(|| malformed(&from, format!("{target:?} is not there")))?;
            let made = walk.schema(found, &target, 0)?;
            if let Some(place) = prepared.pointer_mut(&target[1..]) {
                *place = made;
            }
        }
    }
    match &prepared {
        Json::Bool(true) => prepared = Json::Object(Map::new()),
        Json::Bool(false) => return Err(GrammarError::Empty),
        _ => {}
    }
    let options = JsonCompileOptions {
        item_separator: SEPARATORS[0].into(),
        key_separator: SEPARATORS[1].into(),
        whitespace_flexible: false,
        json_allowed_escapes: Some(ESCAPES.into()),
        ..JsonCompileOptions::default()
    };
    options.apply_to(&mut prepared);
    Ok(prepared)
}

/// What a reference within the document leads to.
pub(crate) fn resolve<'a>(root: &'a Json, reference: &str) -> Option<&'a Json> {
    let pointer = reference.strip_prefix('#')?;
    root.pointer(if pointer == "/" { "" } else { pointer })
}

struct Walk<'a> {
    root: &'a Json,
    bounds: &'a Bounds,
    schemas: usize,
    /// References that were followed.
    seen: BTreeSet<String>,
    /// References to follow, and where they stand.
    waiting: Vec<(String, String)>,
    /// Written in a draft before 2020-12.
    old: bool,
}

fn malformed(at: &str, what: impl Into<String>) -> GrammarError {
    GrammarError::Schema { at: at.into(), what: what.into() }
}

fn keyword(keyword: &str, at: &str, why: impl Into<String>) -> GrammarError {
    GrammarError::Keyword { keyword: keyword.into(), at: at.into(), why: why.into() }
}

/// The name of a property as a part of a pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

impl Walk<'_> {
    fn schema(&mut self, schema: &Json, at: &str, depth: usize) -> Result<Json, GrammarError> {
        self.schemas += 1;
        if self.schemas > self.bounds.schemas {
            return Err(GrammarError::TooLarge { what: "schemas", found: self.schemas, most: self.bounds.schemas });
        }
        if depth > self.bounds.depth {
            return Err(GrammarError::TooDeep { at: at.into(), most: self.bounds.depth });
        }
        let object = match schema {
            Json::Bool(_) => return Ok(schema.clone()),
            Json::Object(object) => object,
            _ => return Err(malformed(at, "a schema is an object, true or false")),
        };
        self.check_together(object, at)?;
        let mut made = Map::new();
        for (key, value) in object {
            let here = format!("{at}/{}", escaped(key));
            if let Some(value) = self.keyword(object, key, value, &here, at, depth)? {
                made.insert(key.clone(), value);
            }
        }
        if let Some(Json::Array(options)) = made.get("oneOf") {
            self.one_of(&object["oneOf"], options.len(), at)?;
            if made.contains_key("anyOf") {
                let why = "anyOf stands beside it; put one of them into allOf";
                return Err(keyword("oneOf", at, why));
            }
            // Where no value fits two of them, the words mean the same.
            made = made
                .into_iter()
                .map(|(key, value)| (if key == "oneOf" { "anyOf".into() } else { key }, value))
                .collect();
        }
        Ok(Json::Object(made))
    }

    /// One keyword with its value; none where it says nothing.
    fn keyword(
        &mut self,
        object: &Map<String, Json>,
        key: &str,
        value: &Json,
        here: &str,
        at: &str,
        depth: usize,
    ) -> Result<Option<Json>, GrammarError> {
        let neutral = matches!((key, value), ("uniqueItems", Json::Bool(false)))
            || matches!((key, value), ("unevaluatedItems" | "unevaluatedProperties", Json::Bool(true)));
        if neutral {
            return Ok(None);
        }
        if let Some((_, why)) = NEVER.iter().find(|(name, _)| *name == key) {
            return Err(keyword(key, at, *why));
        }
        match key {
            "properties" | "patternProperties" | "$defs" | "definitions" => {
                let Json::Object(schemas) = value else {
                    return Err(malformed(here, "expected an object of schemas"));
                };
                let each = schemas.iter().map(|(name, schema)| {
                    let here = format!("{here}/{}", escaped(name));
                    Ok((name.clone(), self.schema(schema, &here, depth + 1)?))
                });
                return Ok(Some(Json::Object(each.collect::<Result<_, GrammarError>>()?)));
            }
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => return self.list(value, here, depth).map(Some),
            "items" if value.is_array() => return self.list(value, here, depth).map(Some),
            "items" | "additionalItems" | "additionalProperties" => {
                return self.schema(value, here, depth + 1).map(Some);
            }
            "$ref" => self.reference(value, at)?,
            "$id" if depth > 0 && refers(&Json::Object(object.clone())) => {
                return Err(keyword(
                    key,
                    at,
                    "references below it would be read from there; use references to the root",
                ));
            }
            "enum" | "const" => {
                let values = match (key, value) {
                    ("enum", Json::Array(values)) if !values.is_empty() => values.as_slice(),
                    ("enum", _) => return Err(malformed(here, "expected an array of at least one value")),
                    _ => std::slice::from_ref(value),
                };
                values.iter().try_for_each(|value| constant(value, key, at, 0))?;
            }
            "type" => types(value, here)?,
            "format" => return format(object, value, at),
            "pattern" if !value.is_string() => return Err(malformed(here, "expected a regular expression")),
            "required" => {
                let names = value.as_array().is_some_and(|names| names.iter().all(Json::is_string));
                names.then_some(()).ok_or_else(|| malformed(here, "expected an array of names"))?;
            }
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => {
                let flag = key.starts_with("exclusive") && value.is_boolean();
                match value.as_f64() {
                    _ if flag => {}
                    Some(number) if key == "multipleOf" && number <= 0.0 => {
                        return Err(malformed(here, "expected a number above 0"));
                    }
                    Some(number) if number.abs() >= EXACT => {
                        return Err(keyword(key, at, "the number is not below 2^53"));
                    }
                    Some(_) => {}
                    None => return Err(malformed(here, "expected a number")),
                }
            }
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
                let number = value.as_u64().ok_or_else(|| malformed(here, "expected an integer from 0 up"))?;
                match number >= ENDLESS {
                    true if key.starts_with("max") => return Ok(None),
                    true => return Err(keyword(key, at, "no answer is as long")),
                    false => {}
                }
            }
            // Marks of references that are refused, and an option of the compiler that is not the user's.
            "$anchor" | "$dynamicAnchor" | "$recursiveAnchor" | "$vocabulary" | "x-guidance" => return Ok(None),
            // What no draft knows is an annotation, as the standard says.
            _ => {}
        }
        Ok(Some(value.clone()))
    }

    fn list(&mut self, value: &Json, here: &str, depth: usize) -> Result<Json, GrammarError> {
        match value {
            Json::Array(schemas) if !schemas.is_empty() => {
                let each = schemas.iter().enumerate();
                let each = each.map(|(i, schema)| self.schema(schema, &format!("{here}/{i}"), depth + 1));
                Ok(Json::Array(each.collect::<Result<_, _>>()?))
            }
            _ => Err(malformed(here, "expected an array of at least one schema")),
        }
    }

    fn reference(&mut self, value: &Json, at: &str) -> Result<(), GrammarError> {
        let target = value.as_str().ok_or_else(|| malformed(at, "$ref is not a text"))?;
        if target != "#" && !target.starts_with("#/") {
            return Err(keyword("$ref", at, format!("{target:?} leads out of the schema; put it under $defs")));
        }
        if target.contains(['~', '%']) {
            return Err(keyword(
                "$ref",
                at,
                format!("{target:?} has escaped characters; use a plain name under $defs"),
            ));
        }
        if resolve(self.root, target).is_none() {
            return Err(malformed(at, format!("$ref leads to {target:?}, which is not there")));
        }
        if target != "#" && target != "#/" {
            self.waiting.push((target.into(), at.into()));
        }
        Ok(())
    }

    /// Keywords that change each other's meaning.
    fn check_together(&self, object: &Map<String, Json>, at: &str) -> Result<(), GrammarError> {
        let has = |key: &str| object.contains_key(key);
        if has("prefixItems") && (self.old || has("additionalItems") || object.get("items").is_some_and(Json::is_array))
        {
            let why = "beside additionalItems, an array of items, or in a draft before 2020-12 it means something else";
            return Err(keyword("prefixItems", at, why));
        }
        let required: BTreeSet<&str> = match object.get("required").and_then(Json::as_array) {
            Some(names) => names.iter().filter_map(Json::as_str).collect(),
            None => BTreeSet::new(),
        };
        let properties = object.get("properties").and_then(Json::as_object);
        let optional = properties.map_or(0, |all| all.keys().filter(|name| !required.contains(name.as_str())).count());
        if optional > OPTIONAL {
            let why = format!(
                "there are {optional} optional ones, at most {OPTIONAL} are followed; require some, or nest them"
            );
            return Err(keyword("properties", at, why));
        }
        let least = object.get("minProperties").and_then(Json::as_u64).unwrap_or(0);
        if least > required.len() as u64 + 1 {
            let why =
                "a grammar does not remember the names of properties, so only one beside the required ones counts";
            return Err(keyword("minProperties", at, why));
        }
        Ok(())
    }

    /// That no value fits two of the options.
    fn one_of(&self, options: &Json, count: usize, at: &str) -> Result<(), GrammarError> {
        let options = options.as_array().map_or(&[][..], Vec::as_slice);
        for (i, a) in options.iter().enumerate().take(count) {
            for (j, b) in options.iter().enumerate().skip(i + 1) {
                if !oneof::disjoint(self.root, a, b) {
                    let why = format!(
                        "a value could fit both option {i} and option {j}, and no grammar can exclude that; tell them apart by \
                         their types or a required property with different constants, or use anyOf"
                    );
                    return Err(keyword("oneOf", at, why));
                }
            }
        }
        Ok(())
    }
}

/// Whether values lie within each other on more levels than these.
fn deeper(value: &Json, levels: usize) -> bool {
    match value {
        Json::Array(values) => levels == 0 || values.iter().any(|value| deeper(value, levels - 1)),
        Json::Object(values) => levels == 0 || values.values().any(|value| deeper(value, levels - 1)),
        _ => false,
    }
}

/// Whether there is a reference anywhere in it.
fn refers(value: &Json) -> bool {
    match value {
        Json::Object(object) => object.contains_key("$ref") || object.values().any(refers),
        Json::Array(values) => values.iter().any(refers),
        _ => false,
    }
}

fn types(value: &Json, here: &str) -> Result<(), GrammarError> {
    let known = ["null", "boolean", "integer", "number", "string", "array", "object"];
    let one = |value: &Json| match value.as_str() {
        Some(name) if known.contains(&name) => Ok(()),
        _ => Err(malformed(here, format!("{value} is no type; there are {}", known.join(", ")))),
    };
    match value {
        Json::Array(names) if !names.is_empty() => names.iter().try_for_each(one),
        value => one(value),
    }
}

/// A format counts for strings alone.
fn format(object: &Map<String, Json>, value: &Json, at: &str) -> Result<Option<Json>, GrammarError> {
    let strings = match object.get("type") {
        None => true,
        Some(Json::Array(types)) => types.iter().any(|name| name == "string"),
        Some(name) => name == "string",
    };
    match value.as_str() {
        _ if !strings => Ok(None),
        Some(name) if FORMATS.contains(&name) => Ok(Some(value.clone())),
        _ => Err(keyword("format", at, format!("{value} is none of {}", FORMATS.join(", ")))),
    }
}

/// A value that has to be written as it is.
fn constant(value: &Json, key: &str, at: &str, depth: usize) -> Result<(), GrammarError> {
    match value {
        Json::String(text)
            if text.chars().any(|c| c.is_control() && !"\n\r\t\u{8}\u{c}".contains(c) && c <= '\u{7f}') =>
        {
            Err(keyword(key, at, "a text has control characters"))
        }
        Json::Number(number) if number.as_f64().is_none_or(|number| number.abs() >= EXACT) => {
            Err(keyword(key, at, "a number is not below 2^53"))
        }
        _ if depth > 64 => Err(keyword(key, at, "a value is nested too deep")),
        Json::Array(values) => values.iter().try_for_each(|value| constant(value, key, at, depth + 1)),
        Json::Object(values) => values.values().try_for_each(|value| constant(value, key, at, depth + 1)),
        _ => Ok(()),
    }
}
