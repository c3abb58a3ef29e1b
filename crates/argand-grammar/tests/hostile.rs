//! Grammars that were written to hurt: an error that says what is wrong, or a grammar; in bounded time, and never a panic.

mod common;
use argand_grammar::{Bounds, GrammarError};
use common::{Finish, Grammar, Grammars, Tokenizer, answers, grammars, request, tokenizer};
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};
use std::time::{Duration, Instant};

fn error(schema: Json) -> String {
    match grammars().compile(&Grammar::Schema(schema.clone())) {
        Ok(_) => panic!("{schema} was taken"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_cannot_be_enforced_is_named_with_its_place() {
    let deep = |schema: Json| json!({ "type": "object", "properties": { "a/b": { "items": schema } } });
    let cases = [
        (deep(json!({ "not": { "type": "null" } })), "\"not\" at #/properties/a~1b/items"),
        (json!({ "if": {}, "then": {}, "else": {} }), "\"if\" at #"),
        (json!({ "type": "array", "uniqueItems": true }), "\"uniqueItems\" at #"),
        (json!({ "contains": {} }), "\"contains\""),
        (json!({ "dependentRequired": { "a": ["b"] } }), "\"dependentRequired\""),
        (json!({ "propertyNames": { "pattern": "^a" } }), "\"propertyNames\""),
        (json!({ "unevaluatedProperties": false }), "\"unevaluatedProperties\""),
        (json!({ "$dynamicRef": "#x" }), "\"$dynamicRef\""),
        (json!({ "$ref": "https://example.com/schema" }), "leads out of the schema"),
        (json!({ "$ref": "#/$defs/none" }), "not there"),
        (json!({ "$ref": "#/$defs/a~1b", "$defs": { "a/b": {} } }), "escaped characters"),
        (json!({ "anyOf": [{ "$id": "inner", "$ref": "#/x" }], "x": {} }), "\"$id\" at #/anyOf/0"),
        (json!({ "type": "string", "format": "iri" }), "\"format\" at #"),
        (json!({ "type": "text" }), "#/type is malformed: \"text\" is no type"),
        (json!({ "type": [] }), "#/type"),
        (json!({ "enum": [] }), "#/enum"),
        (json!({ "anyOf": [] }), "#/anyOf"),
        (json!({ "properties": [] }), "#/properties"),
        (json!({ "properties": { "a": 3 } }), "#/properties/a is malformed"),
        (json!({ "required": "a" }), "#/required"),
        (json!({ "minimum": "a" }), "#/minimum"),
        (json!({ "multipleOf": 0 }), "#/multipleOf"),
        (json!({ "maxLength": -1 }), "#/maxLength"),
        (json!({ "const": 9_007_199_254_740_993_u64 }), "below 2^53"),
        (json!({ "const": "a\u{1}" }), "control characters"),
        (json!({ "minProperties": 2 }), "\"minProperties\" at #"),
        (json!({ "prefixItems": [{}], "additionalItems": false }), "\"prefixItems\" at #"),
        (json!({ "oneOf": [{ "type": "integer" }, { "type": "number" }] }), "option 0 and option 1"),
        (json!({ "oneOf": [{ "type": "null" }], "anyOf": [{}] }), "anyOf stands beside it"),
        (json!({ "properties": (0..451).map(|i| (i.to_string(), json!({}))).collect::<Map<_, _>>() }), "451 optional"),
        (json!({ "minLength": 20_000_000 }), "no answer is as long"),
        (json!({ "type": "string", "pattern": "(?=a)b" }), ""),
        (json!({ "type": "string", "pattern": "(" }), ""),
        (json!({ "type": "integer", "minimum": 5, "maximum": 4 }), ""),
        (json!({ "type": "string", "minLength": 5, "maxLength": 4 }), ""),
        (json!({ "allOf": [{ "type": "string" }, { "type": "null" }] }), ""),
        (json!(false), "no output"),
        (json!(3), "an object, true or false"),
        (json!({ "$ref": "#" }), ""),
        (json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } }), ""),
    ];
    for (schema, part) in cases {
        let error = error(schema.clone());
        assert!(error.contains(part), "{schema}: {error}");
        assert!(error.len() < 700 && !error.contains("backtrace") && !error.contains("panic"), "{schema}: {error}");
    }
}

#[test]
fn what_says_nothing_is_left_out() {
    let schema = json!({
        "type": "integer", "minimum": 1, "maximum": 1, "uniqueItems": false, "unevaluatedItems": true, "$anchor": "x",
        "title": "one", "x-anything": { "not": 3 }, "format": "int32", "maxLength": 2_147_483_647, "deprecated": true,
        "x-guidance": { "lenient": true, "whitespace_pattern": "(" },
    });
    let (tokenizer, grammars) = (tokenizer(), grammars());
    let compiled = grammars.compile(&Grammar::Schema(schema)).expect("a schema");
    assert_eq!(answers(&tokenizer, vec![request(&tokenizer, &compiled, 1, 9)])[0].0, "1");
}

/// Compiles and writes a little, and tells how long both took at most.
fn bear(
    grammars: &Grammars,
    tokenizer: &Tokenizer,
    grammar: &Grammar,
) -> (Result<Finish, GrammarError>, Duration, Duration) {
    let begin = Instant::now();
    let compiled = grammars.compile(grammar);
    let compiling = begin.elapsed();
    let compiled = match compiled {
        Ok(compiled) => compiled,
        Err(error) => return (Err(error), compiling, Duration::ZERO),
    };
    let begin = Instant::now();
    let (_, finish) = answers(tokenizer, vec![request(tokenizer, &compiled, 1, 30)]).remove(0);
    (Ok(finish), compiling, begin.elapsed())
}

#[test]
fn the_nasty_are_borne() {
    let (tokenizer, grammars) = (tokenizer(), grammars());
    let nested = |levels: usize| (0..levels).fold(json!({}), |inner, _| json!({ "items": inner }));
    let wide =
        |n: usize| -> Map<String, Json> { (0..n).map(|i| (format!("p{i}"), json!({ "type": "string" }))).collect() };
    let doubling: Map<String, Json> = (0..40)
        .map(|i| (format!("d{i}"), json!({ "anyOf": [{ "$ref": format!("#/$defs/d{}", i + 1) }, { "$ref": format!("#/$defs/d{}", i + 1) }] })))
        .chain([("d40".into(), json!({ "type": "null" }))])
        .collect();
    let crossed: Vec<Json> = (0..12).map(|i| json!({ "anyOf": (0..6).map(|j| json!({ "properties": { (format!("p{i}")): { "const": j } } })).collect::<Vec<_>>() })).collect();
    let schemas = [
        nested(60),
        nested(100),
        nested(1000),
        json!({ "type": "object", "properties": wide(450), "additionalProperties": false }),
        json!({ "type": "object", "properties": wide(2000), "required": wide(2000).keys().collect::<Vec<_>>() }),
        json!({ "$ref": "#/$defs/d0", "$defs": doubling }),
        json!({ "allOf": crossed }),
        json!({ "enum": (0..20_000).map(|i| format!("value {i}")).collect::<Vec<_>>() }),
        json!({ "type": "string", "pattern": "^(a+)+(b+)+(c*)*$" }),
        json!({ "type": "string", "pattern": "^(((((a{0,100}){0,100}){0,100}){0,100}){0,100})$" }),
        json!({ "type": "string", "pattern": "(.*a){30}", "maxLength": 200 }),
        json!({ "type": "string", "minLength": 100_000, "maxLength": 9_000_000 }),
        json!({ "type": "array", "minItems": 100_000, "maxItems": 9_000_000 }),
        json!({ "type": "integer", "multipleOf": 9_007_199_254_740_991_u64 }),
        json!({ "type": "number", "multipleOf": 1e-300 }),
        json!({ "type": "number", "minimum": 1e-300, "maximum": 1.1e-300 }),
        json!({ "type": "number", "minimum": -4.9e-324, "maximum": 4.9e-324 }),
        json!({ "const": 1e300 }),
        json!({ "const": 1.5e-10 }),
        json!({ "patternProperties": { "(a|b)*c": {}, "(b|a)*c": {} } }),
        json!({ "type": "object", "properties": { "": {}, "\u{0}": {}, "\"": {}, "\\u0061": {} } }),
        json!({ "type": "object", "required": (0..3000).map(|i| i.to_string()).collect::<Vec<_>>() }),
        json!({ "type": "object", "maxProperties": 0, "required": ["a"] }),
        json!({ "description": "x".repeat(300_000) }),
        json!({ "type": "array", "items": false, "minItems": 1 }),
        json!({ "pattern": "é".repeat(60), "const": "ß".repeat(101), "minLength": "日".repeat(101) }),
        json!({ "enum": [{ "é日".repeat(60): 1 }], "type": "object", "required": "é日".repeat(60) }),
        json!({ "anyOf": [{ "$ref": "#" }, { "$ref": "#" }] }),
        json!({ "properties": { "a": { "$ref": "#", "type": "object" } }, "required": ["a"] }),
        json!({ "type": "object", "properties": { "a": { "$ref": "#" } }, "required": ["a"], "additionalProperties": false }),
    ];
    let mut list: Vec<Grammar> = schemas.map(Grammar::Schema).to_vec();
    let texts = [
        "",
        "(",
        "a{1000000000}",
        "(?i)straße|\\p{L}+",
        "[^\\x00-\\x{10FFFF}]",
        "\\bword\\b",
        "^a$",
        "((a|b)*c){50}d",
        "(.*x){300}",
        ".*{5}",
    ];
    list.extend(texts.map(|text| Grammar::Regex(text.into())));
    let larks = [
        "",
        "start:",
        "start: start",
        "start: a\na: start",
        "start: \"a\" start",
        "start: start \"a\" | \"b\"",
        "start: (\"a\"?)*",
        "start: @nobody",
        "start: <nothing>",
        "start: <[99999999]>",
        "start: <[1-2,3]>",
        "start: %json { \"type\": \"nonsense\" }",
        "start: X\nX: X",
        "start: \"a\"{0,100000000}",
        "%llguidance { \"no_forcing\": 3 }\nstart: \"a\"",
        "start[max_tokens=0]: /a*/",
        "start[stop=\"\"]: /.*/",
        "start: /a/ /b/ & /c/",
        "start: \"\\uD800\"",
        "\u{0}",
        "start: {",
        "start: ((((((((((\"a\"))))))))))",
        "start: ~/a/",
        "start: %regex { \"substring_words\": \"a b c\" }",
        "%ignore /./\nstart: \"a\"",
        "%llguidance { \"allow_invalid_utf8\": true }\nstart: /[\\xff]/",
    ];
    list.extend(larks.map(|text| Grammar::Lark(text.into())));
    list.push(Grammar::Lark(format!("start: {}\"a\"{}", "(".repeat(20_000), ")".repeat(20_000))));
    list.push(Grammar::Lark(
        (0..5000).map(|i| format!("r{i}: r{} r{}\n", i + 1, i + 1)).collect::<String>() + "r5000: \"a\"\nstart: r0",
    ));
    list.push(Grammar::Choice((0..20_000).map(|i| format!("choice number {i}")).collect()));
    list.push(Grammar::Choice(vec!["\u{0}\u{1}\u{7f}\u{fffd}".into(), "a\"/\\b".into()]));
    list.push((0..200).fold(Grammar::Object, |grammar, _| grammar.after("x")));
    for grammar in list {
        let shown: String = format!("{grammar:?}").chars().take(160).collect();
        let (end, compiling, writing) = bear(&grammars, &tokenizer, &grammar);
        println!("{compiling:>10.1?} {writing:>10.1?} {end:?} {shown}");
        assert!(
            compiling < Duration::from_secs(12) && writing < Duration::from_secs(20),
            "{compiling:?} {writing:?} {shown}"
        );
        if let Err(error) = end {
            assert!(error.to_string().len() < 1000 && !matches!(error, GrammarError::Busy { .. }), "{error}");
        }
    }
}

#[test]
fn bounds_hold() {
    let bounds = Bounds { bytes: 200, depth: 2, schemas: 4, ..Bounds::default() };
    let grammars = Grammars::with_bounds(&tokenizer(), bounds).expect("a vocabulary");
    let compile = |schema: Json| grammars.compile(&Grammar::Schema(schema)).map(drop);
    assert_eq!(compile(json!({ "items": { "items": {} } })), Ok(()));
    let found = compile(json!({ "items": { "items": { "items": {} } } }));
    assert_eq!(found, Err(GrammarError::TooDeep { at: "#/items/items/items".into(), most: 2 }));
    let found = compile(json!({ "anyOf": [{}, {}, {}, {}] }));
    assert_eq!(found, Err(GrammarError::TooLarge { what: "schemas", found: 5, most: 4 }));
    let found = grammars.compile(&Grammar::Regex("a".repeat(201))).map(drop);
    assert_eq!(found, Err(GrammarError::TooLarge { what: "bytes", found: 201, most: 200 }));

    let bounds = Bounds { time: Duration::ZERO, at_once: 1, ..Bounds::default() };
    let grammars = Grammars::with_bounds(&tokenizer(), bounds).expect("a vocabulary");
    let slow = Grammar::Choice((0..4000).map(|i| format!("choice number {i}")).collect());
    assert_eq!(grammars.compile(&slow).map(drop), Err(GrammarError::TooSlow { allowed: Duration::ZERO }));
    assert_eq!(grammars.compile(&slow).map(drop), Err(GrammarError::Busy { running: 1 }));
    let begin = Instant::now();
    while grammars.compile(&Grammar::Object).map(drop) == Err(GrammarError::Busy { running: 1 }) {
        assert!(begin.elapsed() < Duration::from_secs(60), "what took too long is never over");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Schemas that make some sense, of keywords and values that often do not fit.
fn any_schema() -> impl Strategy<Value = Json> {
    let number = prop_oneof![
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        (-3..9i64).prop_map(Json::from)
    ];
    let text = prop_oneof![
        "[a-c(|)*+\\[\\]\\\\{}0-9^$.é]{0,8}",
        Just("#".to_string()),
        Just("string".into()),
        Just("object".into()),
        Just("date".into())
    ];
    let leaf = prop_oneof![
        number,
        text.prop_map(Json::from),
        any::<bool>().prop_map(Json::from),
        Just(Json::Null),
        Just(json!({}))
    ];
    let key = prop::sample::select(vec![
        "type",
        "enum",
        "const",
        "properties",
        "required",
        "additionalProperties",
        "patternProperties",
        "items",
        "prefixItems",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minProperties",
        "maxProperties",
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
        "$defs",
        "a",
        "b",
        "title",
        "default",
        "$id",
    ]);
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|pairs| {
                Json::Object(pairs.into_iter().map(|(key, value)| (key.to_string(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_schema_is_an_error_or_a_grammar(schemas in prop::collection::vec(any_schema(), 8)) {
        let (tokenizer, grammars) = (tokenizer(), grammars());
        for schema in schemas {
            let (end, _, _) = bear(&grammars, &tokenizer, &Grammar::Schema(schema.clone()));
            if let Ok(Finish::Constraint(error)) = end {
                prop_assert!(!error.to_string().contains("panic"), "{schema}: {error}");
            }
        }
    }
}
