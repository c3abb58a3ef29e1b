"""Causal language models: tables of taps for each family, and the runs of a variant. See README.md for the names."""

import copy
from dataclasses import dataclass, field, replace as replace_fields
from functools import partial
from typing import Callable

import torch

import mxfp4
import reference
from record import Recorder, first, record_rope, run
from variants import VARIANTS as DENSE
from variants_moe import VARIANTS as MOE
from variants_older import VARIANTS as OLDER

FOLDER = reference.TESTS / "tiny"
VARIANTS = {**DENSE, **OLDER, **MOE}
LENGTHS = {"a": 13, "b": 7}
SHIFTED_LENGTH = 3
PREFIX_LENGTH = 4
ROPE_VALUES = ("attn_q_rope", "attn_k_rope")
ROUTING_VALUES = ("ffn_gate_inp", "ffn_moe_weights", "ffn_moe_topk")


@dataclass(frozen=True)
class Family:
    """Where the values of a family are: `frame` below the model, `layer` below each layer."""

    layer: dict
    layers: str = "model.layers"
    frame: dict = field(default_factory=lambda: {"embed": "model.embed_tokens", "output_norm": "model.norm"})
    split: Callable = lambda config: {}
    rope: bool = True


ATTENTION = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q attn_k attn_v": "self_attn.qkv_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn": "<self_attn.o_proj",
    "attn_out": "self_attn.o_proj",
}
LATENT = {
    "attn_q_a": "self_attn.q_a_proj",
    "attn_q_a_norm": "self_attn.q_a_layernorm",
    "attn_q_b": "self_attn.q_b_proj",
    "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa",
    "attn_kv_a_norm": "self_attn.kv_a_layernorm",
    "attn_kv_b": "self_attn.kv_b_proj",
}
GATED = {
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_gate ffn_up": "mlp.gate_up_proj",
    "ffn_down": "mlp.down_proj",
}
EXPERTS = {
    "ffn_gate_inp ffn_moe_weights ffn_moe_topk": "mlp.gate|mlp.router",
    "ffn_moe_out": "mlp.experts",
    "ffn_gate_shexp": "mlp.shared_experts.gate_proj",
    "ffn_up_shexp": "mlp.shared_experts.up_proj",
    "ffn_down_shexp": "mlp.shared_experts.down_proj",
}
NORMS = {"ffn_norm": "post_attention_layernorm|ln_mlp"}
SANDWICH = {
    "attn_post_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_post_norm": "post_feedforward_layernorm",
}
OUTER = {".": ""}
PLAIN = {"ffn_up": "mlp.dense_h_to_4h", "ffn_down": "mlp.dense_4h_to_h"}


def parts_of_heads(config):
    """Query, key and value of fused rows that lie head by head: [heads, 3, head_dim]."""

    def split(value):
        return value.unflatten(-1, (config.num_attention_heads, 3, -1)).unbind(-2)

    return split


def heads_last(value):
    """[1, heads, tokens, head_dim] with the tokens first."""
    return value.transpose(1, 2)


def thirds(value):
    """Three parts of the same width."""
    return value.chunk(3, dim=-1)


def phi3_split(config):
    """Phi 3 lays query, key and value one after the other, and so gate and up."""
    head = config.hidden_size // config.num_attention_heads
    sizes = [config.num_attention_heads * head] + [config.num_key_value_heads * head] * 2
    return {"qkv_proj": lambda v: v.split(sizes, dim=-1), "gate_up_proj": lambda v: v.chunk(2, dim=-1)}


def falcon_split(config):
    """Falcon's fused rows: groups of queries with their key and value, which without groups are heads."""
    heads = config.num_attention_heads
    grouped = config.num_kv_heads if config.new_decoder_architecture else 1 if config.multi_query else heads

    def split(value):
        groups = value.unflatten(-1, (grouped, heads // grouped + 2, -1))
        return [part.flatten(2) for part in groups.split([heads // grouped, 1, 1], dim=3)]

    return {"query_key_value": split}


def bloom_layer(attention):
    """The layer that BLOOM, GPT-NeoX and Falcon share, whose attention has its own name."""
    return {
        **OUTER,
        **NORMS,
        "attn_norm": "input_layernorm|ln_attn",
        "attn_q attn_k attn_v": f"{attention}.query_key_value",
        "attn": f"<{attention}.dense",
        "attn_out": f"{attention}.dense",
        **PLAIN,
    }


LLAMA = Family({**OUTER, **ATTENTION, **NORMS, **GATED}, split=phi3_split)
GEMMA2 = Family({**OUTER, **ATTENTION, **SANDWICH, **GATED})
GEMMA3 = replace_fields(GEMMA2, split=lambda config: {"q_norm": heads_last, "k_norm": heads_last})
MIXTURE = Family({**OUTER, **ATTENTION, **NORMS, **GATED, **EXPERTS})
DEEPSEEK = Family({**OUTER, **ATTENTION, **LATENT, **NORMS, **GATED, **EXPERTS}, rope=False)
FAMILIES = {
    "gemma2": GEMMA2,
    "gemma3_text": GEMMA3,
    "mixtral": MIXTURE,
    "qwen3_moe": MIXTURE,
    "gpt_oss": MIXTURE,
    "deepseek_v2": DEEPSEEK,
    "deepseek_v3": DEEPSEEK,
    "gpt2": Family(
        {
            **OUTER,
            "attn_norm": "ln_1",
            "attn_q attn_k attn_v": "attn.c_attn",
            "attn": "<attn.c_proj",
            "attn_out": "attn.c_proj",
            "ffn_norm": "ln_2",
            "ffn_up": "mlp.c_fc",
            "ffn_down": "mlp.c_proj",
        },
        "transformer.h",
        {"embed": "transformer.drop", "output_norm": "transformer.ln_f"},
        lambda config: {"c_attn": thirds},
        rope=False,
    ),
    "gpt_neox": Family(
        bloom_layer("attention"),
        "gpt_neox.layers",
        {"embed": "gpt_neox.embed_in", "output_norm": "gpt_neox.final_layer_norm"},
        lambda config: {"query_key_value": parts_of_heads(config)},
    ),
    "bloom": Family(
        bloom_layer("self_attention"),
        "transformer.h",
        {
            "token_embd": "transformer.word_embeddings",
            "embed": "transformer.word_embeddings_layernorm",
            "output_norm": "transformer.ln_f",
        },
        lambda config: {"query_key_value": parts_of_heads(config)},
        rope=False,
    ),
    "falcon": Family(
        bloom_layer("self_attention"),
        "transformer.h",
        {"embed": "transformer.word_embeddings", "output_norm": "transformer.ln_f"},
        falcon_split,
        rope=False,
    ),
    "phi": Family(
        {
            **OUTER,
            **ATTENTION,
            "attn": "<self_attn.dense",
            "attn_out": "self_attn.dense",
            "attn_q_norm": "self_attn.q_layernorm",
            "attn_k_norm": "self_attn.k_layernorm",
            "ffn_up": "mlp.fc1",
            "ffn_down": "mlp.fc2",
        },
        frame={"embed": "model.embed_tokens", "output_norm": "model.final_layernorm"},
        split=lambda config: {"q_layernorm": heads_last, "k_layernorm": heads_last},
    ),
}


def recorded(model, tokens, positions):
    """All values of one run by name."""
    family, recorder = FAMILIES.get(model.config.model_type, LLAMA), Recorder()
    split = family.split(model.config)
    recorder.tap(model, family.frame, split=split)
    for i, layer in enumerate(first(model, family.layers)):
        recorder.tap(layer, family.layer, f"layers.{i}.", split)
    if family.rope:
        record_rope(recorder, model)
    # Without a mask transformers takes a jump of positions for the beginning of another sequence.
    mask = torch.ones(1, len(tokens), dtype=torch.long)
    output = run(
        model, input_ids=tokens[None], position_ids=positions[None], attention_mask=mask, use_cache=False
    )
    recorder.put("logits", output.logits)
    return recorder.values


def first_of_kind(config):
    """The first layer of each kind (window or not, RoPE or not, experts or not): whose every value is recorded."""
    layers = config.num_hidden_layers
    types = getattr(config, "layer_types", None) or [None] * layers
    ropes = getattr(config, "no_rope_layers", None) or [1] * layers
    first, only = getattr(config, "first_k_dense_replace", None) or 0, getattr(config, "mlp_only_layers", None) or ()
    dense = [i < first or i in only for i in range(layers)]
    kinds = list(zip(types, ropes, dense))
    return {kinds.index(kind) for kind in kinds}


def keep(name, everything, rope, kinds):
    """Whether a value goes into the golden file: of each layer its output, its attention, which shows the mask, and the
    routing; the rest only where the run records everything or is about RoPE, and then for the first layer of each kind."""
    if not name.startswith("layers."):
        return everything or name == "logits"
    _, layer, *leaf = name.split(".")
    if not leaf or leaf[0] in ("attn", *ROUTING_VALUES):
        return True
    return int(layer) in kinds and (everything or (rope and leaf[0] in ROPE_VALUES))


def runs(variant):
    """Name, positions and whether RoPE is looked at, of each run of a variant."""
    for name, length in LENGTHS.items():
        yield name, torch.arange(length), not variant.full
    for name, offset in zip("cd", variant.offsets):
        yield name, torch.arange(offset, offset + SHIFTED_LENGTH), True
    for name, context in zip("efg", variant.far):
        yield name, torch.cat([torch.arange(PREFIX_LENGTH), torch.arange(context - SHIFTED_LENGTH, context)]), True


def golden(model, random, variant):
    """Runs all token sequences of a variant, each on its own copy: dynamic RoPE keeps state between calls."""
    tensors = {}
    kinds = first_of_kind(model.config)
    for name, positions, rope in runs(variant):
        tokens = torch.randint(3, model.config.vocab_size, positions.shape, generator=random)
        tensors[f"tokens_{name}"] = tokens.float()
        tensors[f"positions_{name}"] = positions.float()
        values = recorded(copy.deepcopy(model), tokens, positions)
        everything = name == "b" and variant.full
        tensors |= {f"{name}/{k}": v for k, v in values.items() if keep(k, everything, rope, kinds)}
    return tensors


def make(name):
    """Writes the folder of one variant, and checks it."""
    variant = VARIANTS[name]
    convert = mxfp4.quantise_experts if "quantization_config" in variant.config else None
    reference.make(FOLDER / name, variant.config, partial(golden, variant=variant), variant.attention, convert)
