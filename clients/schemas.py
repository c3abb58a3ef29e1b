"""Fifty JSON schemas: what people ask for, and what grammars find hard. A generation can end within each."""


def whole(properties, required=None, **more):
    """An object of these, and of nothing else."""
    required = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False, **more}


def many(items, low, high, **more):
    return {"type": "array", "items": items, "minItems": low, "maxItems": high, **more}


def between(low, high, kind="integer"):
    return {"type": kind, "minimum": low, "maximum": high}


def word(most=20, least=0):
    return {"type": "string", "minLength": least, "maxLength": most}


def pattern(regex):
    return {"type": "string", "pattern": regex}


YES = {"type": "boolean"}
MOOD = {"type": "string", "enum": ["positive", "negative", "neutral"]}
POINT = whole({"x": between(-90, 90), "y": between(-180, 180)})
TREE = {
    "$ref": "#/$defs/tree",
    "$defs": {
        "leaf": whole({"value": between(0, 9)}),
        "twig": whole({"left": {"$ref": "#/$defs/leaf"}, "right": {"$ref": "#/$defs/leaf"}}),
        "tree": whole({"left": {"$ref": "#/$defs/twig"}, "right": {"anyOf": [{"$ref": "#/$defs/leaf"}, {"type": "null"}]}}),
    },
}

SCHEMAS = {
    # Plain values.
    "boolean": YES,
    "null": {"type": "null"},
    "integer": between(-1000, 1000),
    "small integer": between(1, 3),
    "exclusive bounds": {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10},
    "number": between(0, 1, "number"),
    "multiples": {"type": "integer", "minimum": 0, "maximum": 100, "multipleOf": 5},
    "short string": word(12),
    "string of some length": word(30, 10),
    "one character": word(1, 1),
    # Strings of a form.
    "letters": pattern("^[a-z]{3,8}$"),
    "licence plate": pattern("^[A-Z]{1,3}-[A-Z]{1,2} [1-9][0-9]{0,3}$"),
    "hexadecimal colour": pattern("^#[0-9a-f]{6}$"),
    "version": pattern(r"^\d{1,2}\.\d{1,2}\.\d{1,2}$"),
    "alternatives in a pattern": pattern("^(north|south)(east|west)?$"),
    "escapes in a pattern": pattern(r'^"[\\/]{2}\t"$'),
    "unicode in a pattern": pattern("^[äöüß🦀]{1,4}$"),
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "date-time"},
    "uuid": {"type": "string", "format": "uuid"},
    "address": {"type": "string", "format": "ipv4"},
    # Choices.
    "enum of strings": MOOD,
    "enum of anything": {"enum": [1, "one", None, True, [1], {"one": 1}]},
    "words that begin alike": {"enum": ["in", "int", "integer", "integers", "in the end"]},
    "const": {"const": {"fixed": [1, 2, {"three": "3"}]}},
    "hard characters": {"enum": ['"', "\\", "\n\t", "é", "日本", "🦀"]},
    # Lists.
    "list of booleans": many(YES, 2, 4),
    "empty list": many(YES, 0, 0),
    "list of words": many(word(8), 1, 3),
    "list of lists": many(many(between(0, 9), 1, 3), 1, 3),
    "tuple": {"type": "array", "prefixItems": [word(6), between(0, 9), YES], "items": False, "minItems": 3},
    "list of points": many(POINT, 1, 2),
    # Objects.
    "one field": whole({"ok": YES}),
    "several fields": whole({"name": word(16), "age": between(0, 120), "mood": MOOD}),
    "optional fields": whole({"a": YES, "b": between(0, 9), "c": word(5)}, required=["b"]),
    "nothing required": whole({"a": YES, "b": YES}, required=[]),
    "no fields": whole({}),
    "fields in another order": whole({"zebra": YES, "apple": YES, "mango": YES}, required=["mango", "apple", "zebra"]),
    "hard names": whole({'a "quoted" name': YES, "back\\slash": YES, "ünïcödé 🦀": YES, "": YES}),
    "deep": whole({"a": whole({"b": whole({"c": whole({"d": whole({"e": YES})})})})}),
    "many fields": whole({f"field_{i}": YES for i in range(12)}),
    "maybe null": whole({"note": {"type": ["string", "null"], "maxLength": 10}, "count": {"type": ["integer", "null"], "minimum": 0, "maximum": 9}}),
    # Combinations.
    "any of": {"anyOf": [between(0, 9), MOOD, whole({"other": word(8)})]},
    "told apart by a field": {
        "anyOf": [whole({"kind": {"const": "circle"}, "radius": between(1, 9)}), whole({"kind": {"const": "box"}, "sides": many(between(1, 9), 2, 2)})]
    },
    "all of": {"allOf": [{"type": "integer", "minimum": 5}, {"maximum": 9}]},
    "references": whole({"from": {"$ref": "#/$defs/point"}, "to": {"$ref": "#/$defs/point"}}) | {"$defs": {"point": POINT}},
    "tree": TREE,
    # What applications send.
    "function call": whole({"name": {"enum": ["search", "open"]}, "arguments": whole({"query": word(20), "limit": between(1, 50)})}),
    "invoice": whole({
        "number": pattern("^INV-[0-9]{4}$"), "date": {"type": "string", "format": "date"},
        "lines": many(whole({"item": word(10), "amount": between(1, 99), "price": between(0, 100, "number")}), 1, 2),
    }),
    "extraction": whole({"people": many(whole({"name": word(12), "role": {"enum": ["author", "reader"]}}), 0, 2), "summary": word(40), "score": between(0, 1, "number")}),
}

assert len(SCHEMAS) == 50
