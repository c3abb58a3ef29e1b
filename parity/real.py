"""real.py MODEL.gguf OUT.json: records what transformers computes with the dequantised weights of a real GGUF model.

For each prompt: its token ids, the ten best first tokens with their logits, and 64 greedy tokens with the margin between
the best and the second logit at each step. An engine that rounds differently may leave the path only where the margin is
small. f32 weights and activations, eager attention, one thread.
"""

import hashlib
import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

# The last one is longer than the sliding window of Gemma 3 (512 tokens).
PROMPTS = [
    "The capital of France is",
    "def fibonacci(n: int) -> int:\n    ",
    "Il était une fois, dans un petit village près de la mer — 海の近くに —",
    "Counting in steps of seven: " + ", ".join(str(7 * i) for i in range(1, 151)) + ",",
]
STEPS = 64


def sha256(path):
    """The checksum of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def follow(model, tokens):
    """The greedy path from a prompt: first logits, the tokens and the margin of each."""
    cache, first, greedy, margins = None, None, [], []
    step = torch.tensor([tokens])
    for _ in range(STEPS):
        output = model(input_ids=step, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache, logits = output.past_key_values, output.logits[0, -1]
        first = logits if first is None else first
        best = logits.topk(2)
        greedy.append(best.indices[0].item())
        margins.append(round((best.values[0] - best.values[1]).item(), 4))
        step = best.indices[:1, None]
    return first, greedy, margins


def record(model, text, tokens):
    """The golden values of one prompt."""
    first, greedy, margins = follow(model, tokens)
    best = first.topk(10)
    return {
        "text": text,
        "tokens": tokens,
        "top": [[token, round(logit, 4)] for token, logit in zip(best.indices.tolist(), best.values.tolist())],
        "greedy": greedy,
        "margins": margins,
    }


def main(path, out):
    torch.set_num_threads(1)
    folder, file = os.path.split(path)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32, attn_implementation="eager")
    print(model.config, file=sys.stderr)
    with torch.inference_mode():
        prompts = [record(model.eval(), text, tokenizer(text).input_ids) for text in PROMPTS]
    for prompt in prompts:
        print(len(prompt["tokens"]), repr(tokenizer.decode(prompt["greedy"])), min(prompt["margins"]), file=sys.stderr)
    rows = [json.dumps({"file": file, "sha256": sha256(path)})[1:-1], '"prompts": [\n']
    body = ",\n".join(json.dumps(prompt, ensure_ascii=False) for prompt in prompts)
    with open(out, "w") as golden:
        golden.write("{" + ",\n".join(rows) + body + "\n]}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
