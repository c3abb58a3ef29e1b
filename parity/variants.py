"""Tiny decoders of the Llama kind: one row per variant, written as the config.json that such a checkpoint carries in the
wild (mostly the older spelling with `rope_theta` and `rope_scaling`, some the newer `rope_parameters`).

Every number that changes the mathematics (softcaps, windows, RoPE lengths) is chosen so small that a short sequence shows it.
"""

from dataclasses import dataclass

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
    "beta_fast": 8.0,
    "beta_slow": 1.0,
}
LONG_8 = {
    "short_factor": [1.0, 1.05, 1.1, 1.25, 1.5, 1.75, 2.0, 2.5],
    "long_factor": [1.0, 1.5, 2.5, 4.0, 7.0, 11.0, 19.0, 32.0],
}
LONG_3 = {"short_factor": [1.0, 1.2, 1.6], "long_factor": [1.1, 3.0, 9.0]}


def sizes(hidden, ffn, layers, heads, kv_heads, vocab, context=131072):
    """The size fields that all families spell alike."""
    return {
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        "max_position_embeddings": context,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "torch_dtype": "float32",
    }


def family(model_type, architecture, act="silu", eps=1e-5):
    """The naming fields of a family."""
    key = "hidden_activation" if model_type.startswith("gemma") else "hidden_act"
    return {"architectures": [architecture], "model_type": model_type, key: act, "rms_norm_eps": eps}


def llama(size, **more):
    """A Llama checkpoint; `more` overrides fields."""
    base = family("llama", "LlamaForCausalLM") | size
    return base | {"rope_theta": 10000.0, "rope_scaling": None, "tie_word_embeddings": False} | more


def rope_llama(**more):
    """A one-layer tied Llama with eight rotary frequencies, for the RoPE scalings."""
    return llama(sizes(18, 13, 1, 2, 1, 61), tie_word_embeddings=True, head_dim=16, **more)


def gemma2(size, **more):
    """A Gemma 2 checkpoint; `more` overrides fields. GGUF has no field for `query_pre_attn_scalar`: it means head_dim."""
    base = family("gemma2", "Gemma2ForCausalLM", "gelu_pytorch_tanh", 1e-6) | size
    base |= {"head_dim": 10, "query_pre_attn_scalar": 10, "sliding_window": 5, "rope_theta": 10000.0}
    return base | {"attn_logit_softcapping": 2.5, "final_logit_softcapping": 4.0, "tie_word_embeddings": True} | more


def gemma3(size, **more):
    """A Gemma 3 text checkpoint; `more` overrides fields."""
    base = family("gemma3_text", "Gemma3ForCausalLM", "gelu_pytorch_tanh", 1e-6) | size
    return base | {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 5, "tie_word_embeddings": True} | more


@dataclass(frozen=True)
class Variant:
    """One tiny model: its config.json, the first positions of the shifted runs, whether every value of the first layer of
    each kind is recorded (else only what the variant is about), the contexts at whose ends the far runs are, and the
    attention of transformers that is used."""

    config: dict
    offsets: tuple = ()
    full: bool = True
    far: tuple = ()
    attention: str = "eager"


GEMMA = ("gemma2", "gemma3_text")
FAR = (4096, 32768, 131072)
LONG = (4000, 131000)

VARIANTS = {
    "llama": Variant(llama(sizes(24, 28, 2, 3, 1, 61)), (4000,)),
    "llama_bias": Variant(llama(sizes(24, 27, 1, 4, 2, 67), attention_bias=True, mlp_bias=True)),
    "llama_linear": Variant(rope_llama(rope_scaling={"type": "linear", "factor": 4.0}), LONG, False),
    "llama_dynamic": Variant(
        rope_llama(rope_scaling={"type": "dynamic", "factor": 2.0}, max_position_embeddings=8), (33000,), False
    ),
    "llama_yarn": Variant(rope_llama(rope_parameters=YARN, max_position_embeddings=128), LONG, False, FAR),
    "llama_llama3": Variant(
        rope_llama(rope_theta=500000.0, rope_scaling=LLAMA3, max_position_embeddings=512), LONG, False, FAR
    ),
    "llama_longrope": Variant(
        rope_llama(
            rope_parameters={"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 8, **LONG_8},
            max_position_embeddings=128,
        ),
        (33000,),
        False,
        FAR,
    ),
    "mistral": Variant(
        family("mistral", "MistralForCausalLM")
        | sizes(18, 13, 1, 3, 1, 61)
        | {"head_dim": 10, "sliding_window": 5, "rope_theta": 1000000.0, "tie_word_embeddings": False}
    ),
    "qwen2": Variant(
        family("qwen2", "Qwen2ForCausalLM", eps=1e-6)
        | sizes(24, 31, 2, 4, 2, 61, 32768)
        | {"rope_theta": 1000000.0, "use_sliding_window": False, "sliding_window": 5, "max_window_layers": 2}
        | {"tie_word_embeddings": True}
    ),
    "qwen2_window": Variant(
        family("qwen2", "Qwen2ForCausalLM", eps=1e-6)
        | sizes(18, 13, 2, 3, 1, 61, 32768)
        | {"rope_theta": 1000000.0, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}
        | {"tie_word_embeddings": False},
        full=False,
    ),
    "qwen3": Variant(
        family("qwen3", "Qwen3ForCausalLM", eps=1e-6)
        | sizes(20, 27, 1, 4, 2, 61, 40960)
        | {"head_dim": 10, "rope_theta": 1000000.0, "rope_scaling": None, "attention_bias": False, "sliding_window": None}
        | {"use_sliding_window": False, "max_window_layers": 1, "tie_word_embeddings": True}
    ),
    "gemma2": Variant(gemma2(sizes(18, 13, 2, 3, 1, 61, 8192))),
    "gemma2_scalar": Variant(
        gemma2(
            sizes(18, 13, 1, 3, 1, 61, 8192),
            query_pre_attn_scalar=3,
            attn_logit_softcapping=None,
            final_logit_softcapping=None,
        ),
        full=False,
    ),
    "gemma3": Variant(
        gemma3(
            sizes(18, 13, 6, 2, 1, 61),
            rope_theta=1000000.0,
            rope_local_base_freq=10000.0,
            rope_scaling=None,
            sliding_window_pattern=6,
        ),
        (4000,),
    ),
    "gemma3_linear": Variant(
        gemma3(
            sizes(18, 13, 2, 3, 1, 61),
            query_pre_attn_scalar=12,
            layer_types=["sliding_attention", "full_attention"],
            rope_parameters={
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
        ),
        LONG,
        False,
    ),
    "smollm3": Variant(
        family("smollm3", "SmolLM3ForCausalLM", eps=1e-6)
        | sizes(16, 13, 5, 2, 1, 61, 65536)
        | {"rope_theta": 5000000.0, "rope_scaling": None, "no_rope_layers": [1, 1, 1, 0, 1], "no_rope_layer_interval": 4}
        | {"attention_bias": False, "mlp_bias": False, "sliding_window": None, "use_sliding_window": False}
        | {"layer_types": ["full_attention"] * 5, "tie_word_embeddings": True}
    ),
    "phi3": Variant(
        family("phi3", "Phi3ForCausalLM")
        | sizes(24, 29, 1, 3, 1, 61, 4096)
        | {"original_max_position_embeddings": 4096, "rope_theta": 10000.0, "rope_scaling": None, "sliding_window": 9}
        | {"tie_word_embeddings": False}
    ),
    "phi3_longrope": Variant(
        family("phi3", "Phi3ForCausalLM")
        | sizes(24, 17, 1, 3, 1, 61, 128)
        | {"original_max_position_embeddings": 8, "rope_theta": 10000.0, "partial_rotary_factor": 0.75}
        | {"rope_scaling": {"type": "longrope", **LONG_3}, "sliding_window": None, "tie_word_embeddings": True},
        (33000,),
        far=FAR,
    ),
}
