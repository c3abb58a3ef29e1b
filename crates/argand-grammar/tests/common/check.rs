//! Whether a JSON value fits a schema: the keywords that the tests use, written down once more and independently.

use serde_json::Value as Json;

/// Why it does not fit; none where it does.
pub fn misfit(root: &Json, schema: &Json, value: &Json) -> Option<String> {
    let object = match schema {
        Json::Bool(true) => return None,
        Json::Bool(false) => return Some(format!("{value} is forbidden")),
        schema => schema.as_object().expect("a schema"),
    };
    let fits = |schema: &Json| misfit(root, schema, value).is_none();
    object.iter().find_map(|(key, given)| {
        let good = match key.as_str() {
            "type" => match given {
                Json::Array(names) => names.iter().any(|name| is(value, name)),
                name => is(value, name),
            },
            "const" => same(given, value),
            "enum" => list(given).iter().any(|one| same(one, value)),
            "$ref" => {
                let target = given.as_str().and_then(|reference| root.pointer(reference.strip_prefix('#')?));
                fits(target.expect("a target"))
            }
            "allOf" => list(given).iter().all(fits),
            "anyOf" => list(given).iter().any(fits),
            "oneOf" => list(given).iter().filter(|schema| fits(schema)).count() == 1,
            "minimum" => value.as_f64().is_none_or(|n| n >= number(given)),
            "maximum" => value.as_f64().is_none_or(|n| n <= number(given)),
            "exclusiveMinimum" => value.as_f64().is_none_or(|n| n > number(given)),
            "exclusiveMaximum" => value.as_f64().is_none_or(|n| n < number(given)),
            "multipleOf" => value.as_f64().is_none_or(|n| n % number(given) == 0.0),
            "minLength" => value.as_str().is_none_or(|text| text.chars().count() as f64 >= number(given)),
            "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as f64 <= number(given)),
            "pattern" => value.as_str().is_none_or(|text| matches(given.as_str().expect("a pattern"), text)),
            "format" => value.as_str().is_none_or(|text| format(given.as_str().expect("a name"), text)),
            "minItems" => value.as_array().is_none_or(|items| items.len() as f64 >= number(given)),
            "maxItems" => value.as_array().is_none_or(|items| items.len() as f64 <= number(given)),
            "prefixItems" => value.as_array().is_none_or(|items| {
                list(given).iter().zip(items).all(|(schema, item)| misfit(root, schema, item).is_none())
            }),
            "items" => value.as_array().is_none_or(|items| {
                let first = object.get("prefixItems").map_or(0, |first| list(first).len());
                items.iter().skip(first).all(|item| misfit(root, given, item).is_none())
            }),
            "minProperties" => value.as_object().is_none_or(|properties| properties.len() as f64 >= number(given)),
            "maxProperties" => value.as_object().is_none_or(|properties| properties.len() as f64 <= number(given)),
            "required" => value.as_object().is_none_or(|properties| {
                list(given).iter().all(|name| properties.contains_key(name.as_str().expect("a name")))
            }),
            "properties" | "patternProperties" => value.as_object().is_none_or(|properties| {
                properties.iter().all(|(name, value)| {
                    let schemas = given.as_object().expect("schemas").iter();
                    let mut mine = schemas.filter(|(known, _)| names(key, known, name));
                    mine.all(|(_, schema)| misfit(root, schema, value).is_none())
                })
            }),
            "additionalProperties" => value.as_object().is_none_or(|properties| {
                properties.iter().all(|(name, value)| {
                    let known = ["properties", "patternProperties"].into_iter().any(|key| {
                        let schemas = object.get(key).and_then(Json::as_object);
                        schemas.is_some_and(|schemas| schemas.keys().any(|known| names(key, known, name)))
                    });
                    known || misfit(root, given, value).is_none()
                })
            }),
            "$defs" | "definitions" | "default" => true,
            other => panic!("the check does not know {other}"),
        };
        (!good).then(|| format!("{value} does not fit {key}: {given}"))
    })
}

fn names(key: &str, known: &str, name: &str) -> bool {
    if key == "properties" { known == name } else { matches(known, name) }
}

fn list(value: &Json) -> &[Json] {
    value.as_array().expect("a list")
}

fn number(value: &Json) -> f64 {
    value.as_f64().expect("a number")
}

fn is(value: &Json, name: &Json) -> bool {
    match name.as_str().expect("a type") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        other => panic!("no type {other}"),
    }
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

/// ECMA's `\d` and `\w` are ASCII.
pub fn matches(pattern: &str, text: &str) -> bool {
    regex::Regex::new(&pattern.replace("\\d", "[0-9]").replace("\\w", "[0-9A-Za-z_]"))
        .expect("a pattern")
        .is_match(text)
}

fn format(name: &str, text: &str) -> bool {
    let date = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])";
    let time = r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([zZ]|[+-]([01]\d|2[0-3]):[0-5]\d)";
    let whole = |pattern: &str| matches(&format!("^({pattern})$"), text);
    match name {
        "date" => whole(date),
        "time" => whole(time),
        "date-time" => whole(&format!("{date}[tT]{time}")),
        "duration" => whole(r"P(\d+Y)?(\d+M)?(\d+D)?(T(\d+H)?(\d+M)?(\d+S)?)?|P\d+W") && text.len() > 2,
        "uuid" => whole("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
        "email" => whole(r"[^@\s]+@[^@\s]+"),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        other => panic!("the check does not know the format {other}"),
    }
}
