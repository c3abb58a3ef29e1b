"""tiny.py [VARIANT ...]: writes tiny random checkpoints and the activations that transformers computes with them.

For each variant the folder holds config.json, model.safetensors and golden.safetensors. Weights are f32, rounded to
bfloat16 and flushed below 2^-10, so copies in F16 or BF16 are lossless. See README.md for the names in the golden file.
"""

import copy
import json
import sys
import zlib
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from variants import VARIANTS

TINY = Path(__file__).parent.parent / "crates/argand-models/tests/tiny"
LENGTHS = {"a": 13, "b": 7}
SHIFTED_LENGTH = 3
SANDWICH = ("gemma2", "gemma3_text")
ROPE_VALUES = ("attn_q_rope", "attn_k_rope")


def initialise(model, generator):
    """Random weights that keep activations near 1 and make attention clearly uneven."""
    plus_one = model.config.model_type in SANDWICH

    def noise(weight, scale):
        return torch.randn(weight.shape, generator=generator) * scale

    for name, weight in model.named_parameters():
        if "norm" in name:
            value = noise(weight, 0.3) + (0.0 if plus_one else 1.0)
        elif name.endswith("bias"):
            value = noise(weight, 0.3)
        elif "embed_tokens" in name:
            value = noise(weight, 0.2 if plus_one else 0.5)
        else:
            gain = 1.7 if any(part in name for part in ("q_proj", "k_proj", "qkv_proj")) else 1.1
            value = noise(weight, gain / weight.shape[1] ** 0.5)
        value = value.bfloat16().float()
        weight.data = torch.where(value.abs() < 2**-10, 0.0, value)


class Recorder:
    """Collects named activations of one forward run, each as [tokens, width]."""

    def __init__(self, model):
        self.model = model
        self.values = {}
        base, config = model.model, model.config
        self.hook(base.embed_tokens, "embed")
        self.hook(base.norm, "output_norm")
        for i, layer in enumerate(base.layers):
            self.hook_layer(f"layers.{i}", layer, config)
        self.wrap_attention(sys.modules[type(model).__module__])

    def put(self, name, value):
        self.values[name] = value.detach().reshape(value.shape[1], -1).clone()

    def hook(self, module, name, heads_first=False):
        def record(_module, _inputs, output):
            output = output[0] if isinstance(output, tuple) else output
            self.put(name, output.transpose(1, 2) if heads_first else output)

        module.register_forward_hook(record)

    def hook_split(self, module, names, sizes):
        def record(_module, _inputs, output):
            for name, part in zip(names, output.split(sizes, dim=-1)):
                self.put(name, part)

        module.register_forward_hook(record)

    def hook_layer(self, at, layer, config):
        attn, mlp = layer.self_attn, layer.mlp
        self.hook(layer, at)
        self.hook(layer.input_layernorm, f"{at}.attn_norm")
        if config.model_type in SANDWICH:
            self.hook(layer.post_attention_layernorm, f"{at}.attn_post_norm")
            self.hook(layer.pre_feedforward_layernorm, f"{at}.ffn_norm")
            self.hook(layer.post_feedforward_layernorm, f"{at}.ffn_post_norm")
        else:
            self.hook(layer.post_attention_layernorm, f"{at}.ffn_norm")
        if hasattr(attn, "qkv_proj"):
            q, kv = config.num_attention_heads * attn.head_dim, config.num_key_value_heads * attn.head_dim
            self.hook_split(attn.qkv_proj, [f"{at}.attn_{x}" for x in "qkv"], [q, kv, kv])
            self.hook_split(mlp.gate_up_proj, [f"{at}.ffn_gate", f"{at}.ffn_up"], [config.intermediate_size] * 2)
        else:
            for x in "qkv":
                self.hook(getattr(attn, f"{x}_proj"), f"{at}.attn_{x}")
            self.hook(mlp.gate_proj, f"{at}.ffn_gate")
            self.hook(mlp.up_proj, f"{at}.ffn_up")
        if hasattr(attn, "q_norm"):
            heads_first = config.model_type == "gemma3_text"
            self.hook(attn.q_norm, f"{at}.attn_q_norm", heads_first)
            self.hook(attn.k_norm, f"{at}.attn_k_norm", heads_first)
        attn.o_proj.register_forward_pre_hook(lambda _module, inputs: self.put(f"{at}.attn", inputs[0]))
        self.hook(attn.o_proj, f"{at}.attn_out")
        self.hook(mlp.down_proj, f"{at}.ffn_down")

    def wrap_attention(self, modeling):
        """Records the query and key that reach eager attention: [1, heads, tokens, head_dim], after RoPE."""
        if not hasattr(modeling, "_eager_attention"):
            modeling._eager_attention = modeling.eager_attention_forward

        def attention(module, query, key, value, *args, **kwargs):
            if getattr(module, "use_rope", True):
                self.put(f"layers.{module.layer_idx}.attn_q_rope", query.transpose(1, 2))
                self.put(f"layers.{module.layer_idx}.attn_k_rope", key.transpose(1, 2))
            return modeling._eager_attention(module, query, key, value, *args, **kwargs)

        modeling.eager_attention_forward = attention

    def run(self, tokens, positions):
        with torch.inference_mode():
            output = self.model(input_ids=tokens[None], position_ids=positions[None], use_cache=False)
        self.put("logits", output.logits)
        return self.values


def first_of_kind(config):
    """The first layer of each kind (window or not, RoPE or not): the ones whose every value is recorded."""
    types = getattr(config, "layer_types", None) or [None] * config.num_hidden_layers
    ropes = getattr(config, "no_rope_layers", None) or [1] * config.num_hidden_layers
    kinds = list(zip(types, ropes))
    return {kinds.index(kind) for kind in kinds}


def keep(name, everything, rope, kinds):
    """Whether a value goes into the golden file: of each layer its output and its attention, which shows the mask; the rest
    only where the run records everything or is about RoPE, and then for the first layer of each kind."""
    if not name.startswith("layers."):
        return everything or name == "logits"
    _, layer, *leaf = name.split(".")
    if not leaf or leaf == ["attn"]:
        return True
    return int(layer) in kinds and (everything or (rope and leaf[0] in ROPE_VALUES))


def golden(model, variant, generator):
    """Runs all token sequences of a variant, each on its own copy: dynamic RoPE keeps state between calls."""
    tensors = {}
    kinds = first_of_kind(model.config)
    runs = [(name, length, 0) for name, length in LENGTHS.items()]
    runs += [(name, SHIFTED_LENGTH, offset) for name, offset in zip("cd", variant.offsets)]
    for run, length, offset in runs:
        tokens = torch.randint(3, model.config.vocab_size, (length,), generator=generator)
        positions = torch.arange(offset, offset + length)
        tensors[f"tokens_{run}"] = tokens.float()
        tensors[f"positions_{run}"] = positions.float()
        everything = run == "b" and variant.full
        rope = offset > 0 or not variant.full
        values = Recorder(copy.deepcopy(model)).run(tokens, positions)
        for name, value in values.items():
            if keep(name, everything, rope, kinds):
                tensors[f"{run}/{name}"] = value.contiguous()
    return tensors


def make(name, variant):
    """Writes the folder of one variant."""
    folder = TINY / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(variant.config, indent=2) + "\n")
    config = AutoConfig.from_pretrained(folder)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    initialise(model, generator)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    weights = {k: v.contiguous() for k, v in model.state_dict().items() if k not in tied}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tensors = golden(model, variant, generator)
    save_file(tensors, folder / "golden.safetensors")
    peak = {k: round(v.abs().max().item(), 2) for k, v in tensors.items() if k.endswith(("logits", "layers.0"))}
    sizes = [f"{path.name} {path.stat().st_size}" for path in sorted(folder.iterdir())]
    print(name, *sizes, peak)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for wanted in sys.argv[1:] or VARIANTS:
        make(wanted, VARIANTS[wanted])
