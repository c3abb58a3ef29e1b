//! Whether two schemas have no value in common, as far as can be seen: `oneOf` is a choice only where that is so.

use crate::schema::resolve;
use serde_json::Value as Json;

/// References followed one after another.
const DEEPEST: usize = 16;
const TYPES: [&str; 6] = ["null", "boolean", "number", "string", "array", "object"];

/// Whether surely no value fits both. `root` is the document that references are read from.
pub(crate) fn disjoint(root: &Json, a: &Json, b: &Json) -> bool {
    apart(root, a, b, 0)
}

fn apart(root: &Json, a: &Json, b: &Json, depth: usize) -> bool {
    if depth > DEEPEST {
        return false;
    }
    let never = |schema: &Json| *schema == Json::Bool(false);
    never(a) || never(b) || half(root, a, b, depth) || half(root, b, a, depth) || plainly(root, a, b, depth)
}

/// By the parts that `a` is made of.
fn half(root: &Json, a: &Json, b: &Json, depth: usize) -> bool {
    let list = |key: &str| a.get(key).and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    let each = |options: &[Json]| !options.is_empty() && options.iter().all(|a| apart(root, a, b, depth + 1));
    let target = a.get("$ref").and_then(Json::as_str).and_then(|reference| resolve(root, reference));
    target.is_some_and(|a| apart(root, a, b, depth + 1))
        || list("allOf").iter().any(|a| apart(root, a, b, depth + 1))
        || each(list("anyOf"))
        || each(list("oneOf"))
}

/// By what stands in the two themselves.
fn plainly(root: &Json, a: &Json, b: &Json, depth: usize) -> bool {
    let both: Vec<&str> = TYPES.into_iter().filter(|name| has_type(a, name) && has_type(b, name)).collect();
    match both.as_slice() {
        [] => return true,
        ["object"] if objects(root, a, b, depth) => return true,
        ["number"] if below(a, b) || below(b, a) => return true,
        _ => {}
    }
    match (values(a), values(b)) {
        (Some(a), Some(b)) => !a.iter().any(|a| b.iter().any(|b| same(a, b))),
        _ => false,
    }
}

/// Objects of which one has to have a property that the other cannot have, or not with such a value.
fn objects(root: &Json, a: &Json, b: &Json, depth: usize) -> bool {
    let names = |schema: &'_ Json| schema.get("required").and_then(Json::as_array).cloned().unwrap_or_default();
    let required: Vec<Json> = names(a).into_iter().chain(names(b)).collect();
    required.iter().filter_map(Json::as_str).any(|name| match (property(a, name), property(b, name)) {
        (Some(a), Some(b)) => apart(root, a, b, depth + 1),
        _ => false,
    })
}

/// What is said of a property, if that is all that is said of it.
fn property<'a>(schema: &'a Json, name: &str) -> Option<&'a Json> {
    match schema.get("properties").and_then(|properties| properties.get(name)) {
        Some(found) => Some(found),
        None if schema.get("patternProperties").is_none() => schema.get("additionalProperties"),
        None => None,
    }
}

fn has_type(schema: &Json, name: &str) -> bool {
    let is = |given: &Json| given == name || (name == "number" && given == "integer");
    let by_type = match schema.get("type") {
        Some(Json::Array(types)) => types.iter().any(is),
        Some(given) => is(given),
        None => true,
    };
    by_type && values(schema).is_none_or(|values| values.iter().any(|value| type_of(value) == name))
}

fn type_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

/// The constants that it allows, if it allows no others.
fn values(schema: &Json) -> Option<&[Json]> {
    let one = schema.get("const").map(std::slice::from_ref);
    one.or_else(|| schema.get("enum").and_then(Json::as_array).map(Vec::as_slice))
}

/// Whether the numbers of `a` are all below those of `b`.
fn below(a: &Json, b: &Json) -> bool {
    let number = |schema: &Json, key: &str| schema.get(key).and_then(Json::as_f64);
    let ends =
        [("maximum", "minimum", false), ("exclusiveMaximum", "minimum", true), ("maximum", "exclusiveMinimum", true)];
    ends.into_iter().any(|(most, least, touching)| match (number(a, most), number(b, least)) {
        (Some(most), Some(least)) => most < least || (touching && most == least),
        _ => false,
    })
}

fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn schemas_without_a_common_value_are_known() {
        let root = json!({ "$defs": {
            "cat": { "type": "object", "properties": { "kind": { "const": "cat" } }, "required": ["kind"] },
            "dog": { "type": "object", "properties": { "kind": { "enum": ["dog", "wolf"] } } },
            "node": { "anyOf": [{ "$ref": "#/$defs/node" }, { "type": "null" }] },
        }});
        let reference = |name: &str| json!({ "$ref": format!("#/$defs/{name}") });
        let apart = [
            (json!({ "type": "string" }), json!({ "type": ["null", "integer"] })),
            (json!({ "const": 1 }), json!({ "enum": ["1", 2.0] })),
            (reference("cat"), reference("dog")),
            (json!({ "allOf": [reference("cat"), {}] }), reference("dog")),
            (json!({ "type": "integer", "maximum": 3 }), json!({ "type": "number", "exclusiveMinimum": 3 })),
            (reference("cat"), json!({ "type": "object", "additionalProperties": false })),
            (json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] }), json!({ "type": "array" })),
        ];
        for (a, b) in apart {
            assert!(disjoint(&root, &a, &b) && disjoint(&root, &b, &a), "{a} and {b}");
        }
        let common = [
            (json!({}), json!({ "type": "string" })),
            (json!({ "const": 1 }), json!({ "const": 1.0 })),
            (json!({ "type": "integer" }), json!({ "type": "number" })),
            (reference("dog"), json!({ "type": "object" })),
            // Neither has to have a kind.
            (reference("dog"), json!({ "type": "object", "properties": { "kind": { "const": "cat" } } })),
            // Others than objects fit both.
            (json!({ "required": ["a"], "additionalProperties": false }), json!({ "additionalProperties": false })),
            (json!({ "type": "integer", "maximum": 3 }), json!({ "type": "integer", "minimum": 3 })),
            (reference("node"), json!({ "type": "null" })),
        ];
        for (a, b) in common {
            assert!(!disjoint(&root, &a, &b) && !disjoint(&root, &b, &a), "{a} and {b}");
        }
    }
}
