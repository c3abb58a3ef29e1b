"""Tiny decoders with mixtures of experts, and the latent attention of DeepSeek."""

from variants import FAR, LONG, Variant, family, sizes

DEEPSEEK_YARN = {
    "type": "yarn",
    "factor": 40.0,
    "original_max_position_embeddings": 32,
    "beta_fast": 8,
    "beta_slow": 1,
}
GPT_OSS_YARN = {
    "rope_type": "yarn",
    "factor": 32.0,
    "original_max_position_embeddings": 64,
    "beta_fast": 8.0,
    "beta_slow": 1.0,
    "truncate": False,
}
MXFP4 = {
    "quant_method": "mxfp4",
    "modules_to_not_convert": [
        "model.layers.*.self_attn",
        "model.layers.*.mlp.router",
        "model.embed_tokens",
        "lm_head",
    ],
}


def mixtral(**more):
    """A Mixtral checkpoint; `more` overrides fields."""
    base = family("mixtral", "MixtralForCausalLM") | sizes(16, 11, 2, 4, 2, 37)
    base |= {"num_local_experts": 4, "num_experts_per_tok": 2, "rope_theta": 1000000.0, "sliding_window": None}
    return base | {"output_router_logits": False, "tie_word_embeddings": False} | more


def qwen3_moe(**more):
    """A Qwen3-MoE checkpoint; `more` overrides fields."""
    base = family("qwen3_moe", "Qwen3MoeForCausalLM", eps=1e-6) | sizes(16, 22, 2, 4, 2, 37, 40960)
    base |= {"head_dim": 6, "moe_intermediate_size": 9, "num_experts": 6, "num_experts_per_tok": 3}
    base |= {"norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [], "attention_bias": False}
    return base | {"rope_theta": 1000000.0, "rope_scaling": None, "tie_word_embeddings": False} | more


def gpt_oss(size, **more):
    """A gpt-oss checkpoint; `more` overrides fields."""
    base = family("gpt_oss", "GptOssForCausalLM") | size
    base |= {"head_dim": 6, "num_local_experts": 3, "num_experts_per_tok": 2, "attention_bias": True}
    base |= {"swiglu_limit": 1.5, "sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"]}
    return base | {"rope_theta": 150000.0, "rope_scaling": GPT_OSS_YARN, "tie_word_embeddings": False} | more


def deepseek(version, **more):
    """A DeepSeek checkpoint of version 2 or 3; `more` overrides fields."""
    base = family(f"deepseek_v{version}", f"DeepseekV{version}ForCausalLM", eps=1e-6) | sizes(16, 13, 2, 4, 4, 37)
    base |= {"kv_lora_rank": 10, "q_lora_rank": None, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5}
    base |= {"n_routed_experts": 8, "n_shared_experts": 2, "num_experts_per_tok": 3, "moe_intermediate_size": 7}
    base |= {"first_k_dense_replace": 1, "moe_layer_freq": 1, "routed_scaling_factor": 1.0, "norm_topk_prob": False}
    return base | {"attention_bias": False, "rope_theta": 10000.0, "rope_scaling": None, "tie_word_embeddings": False} | more


VARIANTS = {
    "mixtral": Variant(mixtral(), (4000,)),
    "qwen3_moe": Variant(qwen3_moe()),
    "qwen3_moe_raw": Variant(qwen3_moe(norm_topk_prob=False, mlp_only_layers=[0], num_experts=5)),
    "gpt_oss": Variant(gpt_oss(sizes(18, 7, 2, 4, 2, 37)), LONG),
    "gpt_oss_mxfp4": Variant(gpt_oss(sizes(32, 32, 2, 2, 1, 37), quantization_config=MXFP4), full=False),
    "deepseek_v2": Variant(deepseek(2, topk_method="greedy", scoring_func="softmax", n_group=1, topk_group=1)),
    "deepseek_v2_groups": Variant(
        deepseek(
            2,
            topk_method="group_limited_greedy",
            scoring_func="softmax",
            n_group=4,
            topk_group=2,
            q_lora_rank=12,
            routed_scaling_factor=16.0,
            rope_scaling=DEEPSEEK_YARN | {"mscale": 0.707, "mscale_all_dim": 0.707},
        ),
        far=FAR,
    ),
    "deepseek_v3": Variant(
        deepseek(
            3,
            topk_method="noaux_tc",
            scoring_func="sigmoid",
            n_group=4,
            topk_group=2,
            n_shared_experts=1,
            q_lora_rank=12,
            norm_topk_prob=True,
            routed_scaling_factor=2.5,
            num_nextn_predict_layers=0,
            rope_scaling=DEEPSEEK_YARN | {"mscale": 1.0, "mscale_all_dim": 1.0},
        ),
        far=FAR,
    ),
    "deepseek_v3_flat": Variant(
        deepseek(
            3,
            topk_method="noaux_tc",
            scoring_func="sigmoid",
            n_group=1,
            topk_group=1,
            norm_topk_prob=True,
            num_nextn_predict_layers=0,
        )
    ),
}
