"""Distributions after every stage of the sampling chain, written densely in float64 with numpy.

Independent of the Rust sampler: every stage here maps a full vector of logits to a full vector of logits, removed tokens
being -inf, as the papers and Hugging Face's LogitsProcessor classes define them.

    python parity/sampler_golden.py > crates/argand-engine/tests/golden/sampler.json
"""

import json

import numpy as np

HF = ["logit_bias", "repetition", "frequency", "temperature", "top_k", "top_p", "min_p", "typical_p"]
LLAMA_CPP = ["logit_bias", "repetition", "frequency", "top_k", "typical_p", "top_p", "min_p", "temperature"]
NEUTRAL = dict(
    temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, typical_p=1.0, repetition_penalty=1.0, frequency_penalty=0.0,
    presence_penalty=0.0, penalty_window=0, penalize_prompt=False, logit_bias={},
)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def last(tokens, window):
    return tokens[-window:] if window else tokens


def keep(x, ids):
    out = np.full_like(x, -np.inf)
    out[ids] = x[ids]
    return out


def ranked(x):
    return sorted(range(len(x)), key=lambda i: (-x[i], i))


def reach(order, p, share):
    """The shortest head of `order` whose probability reaches `share`."""
    total = 0.0
    for n, i in enumerate(order, 1):
        total += p[i]
        if total >= share:
            return order[:n]
    return order


def apply(stage, x, s, history, prompt):
    x = x.copy()
    if stage == "logit_bias":
        for i, b in s["logit_bias"].items():
            x[int(i)] += b
    elif stage == "repetition":
        for i in set(last(history, s["penalty_window"])):
            x[i] = x[i] / s["repetition_penalty"] if x[i] > 0 else x[i] * s["repetition_penalty"]
    elif stage == "frequency":
        seen = last(history if s["penalize_prompt"] else history[prompt:], s["penalty_window"])
        for i in set(seen):
            x[i] -= seen.count(i) * s["frequency_penalty"] + s["presence_penalty"]
    elif stage == "temperature":
        x /= s["temperature"]
    elif stage == "top_k":
        x = keep(x, ranked(x)[: s["top_k"]])
    elif stage == "top_p":
        x = keep(x, reach(ranked(x), softmax(x), s["top_p"]))
    elif stage == "min_p":
        p = softmax(x)
        x[p < s["min_p"] * p.max()] = -np.inf
    elif stage == "typical_p":
        p = softmax(x)
        with np.errstate(divide="ignore", invalid="ignore"):
            surprise = -np.log(p)
            entropy = np.nansum(np.where(p > 0, p * surprise, 0.0))
        distance = np.abs(surprise - entropy)
        kept = reach(sorted(range(len(x)), key=lambda i: distance[i]), p, s["typical_p"])
        x[distance > max(distance[i] for i in kept)] = -np.inf
    return x


def active(stage, s):
    return {
        "logit_bias": bool(s["logit_bias"]), "repetition": s["repetition_penalty"] != 1,
        "frequency": s["frequency_penalty"] != 0 or s["presence_penalty"] != 0, "temperature": s["temperature"] != 1,
        "top_k": s["top_k"] > 0, "top_p": s["top_p"] < 1, "min_p": s["min_p"] > 0, "typical_p": s["typical_p"] < 1,
    }[stage]


CASES = [
    ("hf defaults", HF, 3.0, dict(top_k=50)),
    ("hf chat", HF, 4.0, dict(temperature=0.7, top_k=20, top_p=0.8)),
    ("llama.cpp defaults", LLAMA_CPP, 3.0, dict(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05)),
    ("llama.cpp all", LLAMA_CPP, 2.0, dict(
        temperature=1.3, top_k=60, top_p=0.97, min_p=0.02, typical_p=0.9, repetition_penalty=1.1, frequency_penalty=0.4,
        presence_penalty=0.2, penalty_window=8, penalize_prompt=True, logit_bias={"3": -1.5, "70": 2.0})),
    ("hf all", HF, 2.0, dict(
        temperature=1.3, top_k=60, top_p=0.97, min_p=0.02, typical_p=0.9, repetition_penalty=1.3, frequency_penalty=0.4,
        presence_penalty=-0.2, logit_bias={"3": -1.5, "70": 2.0})),
    ("top-p alone on a flat distribution", HF, 0.1, dict(top_p=0.9)),
    ("top-p alone on a peaked distribution", HF, 9.0, dict(top_p=0.9)),
    ("min-p alone", HF, 3.0, dict(min_p=0.1)),
    ("typical-p alone", HF, 2.0, dict(typical_p=0.5)),
    ("penalties after top-k", ["top_k", "repetition", "frequency"], 3.0, dict(
        top_k=30, repetition_penalty=1.5, frequency_penalty=0.5, presence_penalty=0.5, penalize_prompt=True)),
]


def main():
    rng = np.random.default_rng(7)
    vocab, prompt = 96, 10
    cases = []
    for name, order, scale, changes in CASES:
        logits = (rng.standard_normal(vocab) * scale).astype(np.float32)
        history = [int(t) for t in rng.integers(0, 24, 24)]
        s = {**NEUTRAL, **changes, "order": order}
        # The parameters reach Rust as f32; the reference uses the same values.
        exact = {k: float(np.float32(v)) if isinstance(v, float) else v for k, v in s.items()}
        x, stages = logits.astype(np.float64), []
        for stage in order:
            if not active(stage, s):
                continue
            x = apply(stage, x, exact, history, prompt)
            p = softmax(x)
            stages.append({"stage": stage, "p": [[i, float(f"{p[i]:.9g}")] for i in range(vocab) if x[i] > -np.inf]})
        cases.append({"name": name, "sampling": s, "history": history, "prompt": prompt,
                      "logits": [float(f"{v:.9g}") for v in logits], "stages": stages})
    print("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]")


if __name__ == "__main__":
    main()
