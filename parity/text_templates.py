"""Golden values for chat templates: renders each template of a folder with the environment of `transformers`.

    pip install transformers jinja2
    python parity/text_templates.py LLAMA_CPP/models/templates crates/argand-text/tests/golden/templates.json

Templates belong to their authors, so only hashes of what they write are kept. `--text FILE` also writes the texts, to
look for a difference.
"""

import argparse
import datetime
import hashlib
import json
import pathlib

import jinja2
import transformers.utils.chat_template_utils as chat

NOW = 1_740_830_400  # 2025-03-01 12:00:00 UTC
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather now, in °C & <b>words</b>",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "A town, e.g. \"Genève\""},
                "days": {"type": "integer", "enum": [1, 3, 7], "default": 1},
                "scale": {"type": "number", "minimum": 0.5, "maximum": 99.25},
            },
            "required": ["city"],
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {"name": "clock", "description": "The time", "parameters": {"type": "object", "properties": {}}},
}


def call(name, arguments):
    return {"id": "abcdef123", "type": "function", "function": {"name": name, "arguments": arguments}}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


SYSTEM = {"role": "system", "content": "You are brief."}
TOOL_TURN = [
    SYSTEM,
    user("Weather in Genève?"),
    assistant("", tool_calls=[call("get_weather", {"city": "Genève", "days": 3, "exact": True, "note": None})]),
    {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": "{\"sky\": \"<clear>\", \"t\": -1.5}"},
    assistant("Clear, -1.5 °C."),
    user("Thanks. And now?"),
]
TURNS = [user("One?"), assistant("1."), user("Two?"), assistant("2."), user("Three?")]

CONVERSATIONS = {
    "user": {"messages": [user("Hello!")]},
    "system": {"messages": [SYSTEM, user("Hello!")]},
    "turns": {"messages": [SYSTEM, *TURNS]},
    "unicode": {"messages": [user("  Grüße, 世界 👋🏽 \u200d <|im_end|> {{ x }}\n\n\tend  "), assistant(" é "), user("ª\u00a0")]},
    "assistant_last": {"messages": TURNS[:4], "add_generation_prompt": False},
    "thinking_off": {"messages": [SYSTEM, user("Think?")], "extra": {"enable_thinking": False, "thinking": False}},
    "reasoning": {
        "messages": [user("2+2?"), assistant("4", reasoning_content="Add them.\n"), user("3+3?")],
        "extra": {"enable_thinking": True},
    },
    "tools_offered": {"messages": [SYSTEM, user("What time is it?")], "tools": [WEATHER, CLOCK]},
    "tools_used": {"messages": TOOL_TURN, "tools": [WEATHER, CLOCK]},
    "parts": {"messages": [user([{"type": "text", "text": "First."}, {"type": "text", "text": "Second."}])]},
    "empty": {"messages": []},
}


class FixedTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(NOW, datetime.timezone.utc).replace(tzinfo=None)


def render(template, conversation):
    arguments = dict(SPECIAL)
    arguments.update(conversation.get("extra", {}))
    texts, _ = chat.render_jinja_template(
        conversations=[conversation["messages"]],
        chat_template=template,
        tools=conversation.get("tools"),
        add_generation_prompt=conversation.get("add_generation_prompt", True),
        **arguments,
    )
    return texts[0]


def outcome(template, conversation):
    """The text, or why there is none."""
    try:
        return {"text": render(template, conversation)}
    except jinja2.exceptions.TemplateSyntaxError:
        return None  # not a template of this environment
    except jinja2.exceptions.TemplateError as error:
        # raise_exception raises exactly this class; operations that fail raise its subclasses.
        return {"raised": str(error)} if type(error) is jinja2.exceptions.TemplateError else {"failed": True}
    except Exception:
        return {"failed": True}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("templates", type=pathlib.Path)
    parser.add_argument("golden", type=pathlib.Path)
    parser.add_argument("--text", type=pathlib.Path)
    arguments = parser.parse_args()
    chat.datetime = FixedTime

    cases, texts = {}, {}
    for path in sorted(arguments.templates.glob("*.jinja")):
        template = path.read_text(encoding="utf-8")
        outcomes = {name: outcome(template, conversation) for name, conversation in CONVERSATIONS.items()}
        if None in outcomes.values():
            print(f"left out, does not compile: {path.name}")
            continue
        texts[path.name] = outcomes
        cases[path.name] = {
            name: {"sha256": hashlib.sha256(one["text"].encode()).hexdigest()[:24], "bytes": len(one["text"].encode())}
            if "text" in one
            else one
            for name, one in outcomes.items()
        }
    golden = {"now": NOW, "special": SPECIAL, "conversations": CONVERSATIONS, "cases": cases}
    arguments.golden.write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if arguments.text:
        arguments.text.write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
    kinds = [kind for outcomes in texts.values() for one in outcomes.values() for kind in one]
    print({kind: kinds.count(kind) for kind in set(kinds)}, "of", len(cases), "templates")


if __name__ == "__main__":
    main()
