"""Tiny decoders from before Llama: learned positions, ALiBi, layer norms, parallel blocks, plain feed-forward blocks."""

from variants import LONG, Variant

COMMON = {"bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32"}


def gpt2(embd, heads, layers, **more):
    """A GPT-2 checkpoint; `more` overrides fields."""
    return COMMON | {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "n_ctx": 40,
        "n_embd": embd,
        "n_head": heads,
        "n_layer": layers,
        "n_positions": 40,
        "vocab_size": 37,
    } | more


def gpt_neox(**more):
    """A GPT-NeoX (Pythia) checkpoint; `more` overrides fields."""
    return COMMON | {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "hidden_act": "gelu",
        "hidden_size": 24,
        "intermediate_size": 25,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": 131072,
        "num_attention_heads": 3,
        "num_hidden_layers": 2,
        "rotary_emb_base": 10000,
        "rotary_pct": 0.25,
        "tie_word_embeddings": False,
        "use_parallel_residual": True,
        "vocab_size": 37,
    } | more


def bloom(width, heads, **more):
    """A BLOOM checkpoint; its feed-forward block is four times as wide as the model. `more` overrides fields."""
    return COMMON | {
        "architectures": ["BloomForCausalLM"],
        "model_type": "bloom",
        "apply_residual_connection_post_layernorm": False,
        "hidden_size": width,
        "layer_norm_epsilon": 1e-5,
        "n_head": heads,
        "n_layer": 2,
        "pretraining_tp": 1,
        "slow_but_exact": False,
        "vocab_size": 37,
    } | more


def falcon(**more):
    """A Falcon checkpoint, like the 7B one unless `more` says otherwise."""
    return COMMON | {
        "architectures": ["FalconForCausalLM"],
        "model_type": "falcon",
        "alibi": False,
        "bias": False,
        "hidden_size": 18,
        "layer_norm_epsilon": 1e-5,
        "multi_query": True,
        "new_decoder_architecture": False,
        "num_attention_heads": 3,
        "num_hidden_layers": 2,
        "parallel_attn": True,
        "vocab_size": 37,
    } | more


def phi(**more):
    """A Phi-2 checkpoint; `more` overrides fields."""
    return COMMON | {
        "architectures": ["PhiForCausalLM"],
        "model_type": "phi",
        "hidden_act": "gelu_new",
        "hidden_size": 20,
        "intermediate_size": 23,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": 131072,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "partial_rotary_factor": 0.4,
        "qk_layernorm": False,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "vocab_size": 37,
    } | more


# transformers' eager attention adds Falcon's ALiBi twice; the other one adds it once, as the model was trained.
SDPA = {"attention": "sdpa"}

VARIANTS = {
    "gpt2": Variant(gpt2(16, 2, 2), (30,)),
    "gpt2_inner": Variant(
        gpt2(18, 3, 2, n_inner=21, scale_attn_by_inverse_layer_idx=True, activation_function="relu"), full=False
    ),
    "gpt_neox": Variant(gpt_neox(), LONG),
    "gpt_neox_serial": Variant(gpt_neox(use_parallel_residual=False, rotary_pct=1.0, num_hidden_layers=1), (4000,)),
    "bloom": Variant(bloom(16, 4)),
    "bloom_heads": Variant(bloom(18, 6, apply_residual_connection_post_layernorm=True, n_layer=1)),
    "falcon": Variant(falcon(), LONG, **SDPA),
    "falcon_grouped": Variant(falcon(new_decoder_architecture=True, hidden_size=16, num_attention_heads=4, num_kv_heads=2), **SDPA),
    "falcon_one_norm": Variant(
        falcon(
            new_decoder_architecture=True,
            num_ln_in_parallel_attn=1,
            hidden_size=16,
            num_attention_heads=4,
            num_kv_heads=2,
            num_hidden_layers=1,
            ffn_hidden_size=31,
            tie_word_embeddings=False,
        ),
        **SDPA,
    ),
    # transformers rounds ALiBi's slopes to bfloat16 here; those of four heads are powers of two.
    "falcon_alibi": Variant(
        falcon(alibi=True, multi_query=False, parallel_attn=False, bias=True, hidden_size=16, num_attention_heads=4), **SDPA
    ),
    "phi": Variant(phi(), LONG),
    "phi_qk_norm": Variant(phi(qk_layernorm=True, num_key_value_heads=1, num_hidden_layers=1)),
}
