"""Tiny models that see: one row per variant, its config.json."""

IMAGE_TOKEN = 36
TOWER = {
    "hidden_size": 12,
    "intermediate_size": 14,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_channels": 3,
    "image_size": 12,
    "patch_size": 4,
}
TEXT = {
    "hidden_size": 10,
    "intermediate_size": 13,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 31,
    "max_position_embeddings": 12,
    "eos_token_id": 30,
    "bos_token_id": 1,
    "pad_token_id": 1,
}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 12,
    "intermediate_size": 13,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 37,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def checkpoint(architecture, model_type, **more):
    """The naming fields and the rest."""
    return {"architectures": [architecture], "model_type": model_type, "torch_dtype": "float32", **more}


def clip_tower(act="quick_gelu", **more):
    """A tower of CLIP or SigLIP, vision or text."""
    return {"hidden_act": act, "layer_norm_eps": 1e-5, **more}


VARIANTS = {
    "vit": checkpoint(
        "ViTForImageClassification",
        "vit",
        **TOWER,
        hidden_act="gelu",
        layer_norm_eps=1e-12,
        qkv_bias=True,
        id2label={"0": "left", "1": "middle", "2": "right"},
        label2id={"left": 0, "middle": 1, "right": 2},
    ),
    "clip": checkpoint(
        "CLIPModel",
        "clip",
        projection_dim=9,
        logit_scale_init_value=2.6592,
        text_config=clip_tower(model_type="clip_text_model", projection_dim=9, **TEXT),
        vision_config=clip_tower(model_type="clip_vision_model", projection_dim=9, **TOWER),
    ),
    "siglip": checkpoint(
        "SiglipModel",
        "siglip",
        text_config=clip_tower("gelu_pytorch_tanh", model_type="siglip_text_model", projection_size=12, **TEXT),
        vision_config=clip_tower("gelu_pytorch_tanh", model_type="siglip_vision_model", **TOWER),
    ),
    "llava": checkpoint(
        "LlavaForConditionalGeneration",
        "llava",
        image_token_index=IMAGE_TOKEN,
        projector_hidden_act="gelu",
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
        text_config=LLAMA,
        vision_config=clip_tower(model_type="clip_vision_model", projection_dim=9, **TOWER),
    ),
    "smolvlm": checkpoint(
        "SmolVLMForConditionalGeneration",
        "smolvlm",
        image_token_id=IMAGE_TOKEN,
        pad_token_id=0,
        scale_factor=2,
        tie_word_embeddings=False,
        text_config=LLAMA,
        vision_config=TOWER | {"image_size": 16, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6},
    ),
    "qwen2_vl": checkpoint(
        "Qwen2VLForConditionalGeneration",
        "qwen2_vl",
        **{k: v for k, v in LLAMA.items() if k != "model_type"} | {"hidden_size": 16, "intermediate_size": 11, "max_position_embeddings": 128},
        hidden_act="silu",
        rope_scaling={"type": "mrope", "mrope_section": [2, 1, 1]},
        use_sliding_window=False,
        tie_word_embeddings=False,
        image_token_id=IMAGE_TOKEN,
        video_token_id=35,
        vision_start_token_id=33,
        vision_end_token_id=34,
        vision_config={
            "depth": 2,
            "embed_dim": 12,
            "hidden_size": 16,
            "hidden_act": "quick_gelu",
            "in_chans": 3,
            "mlp_ratio": 2,
            "num_heads": 3,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
    ),
}
