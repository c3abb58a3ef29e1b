"""Models that see: ViT, CLIP and SigLIP with both towers, and language models whose rows for image tokens come from a tower.

A model is a list of towers: the prefix of their names, where they are, and the taps outside their layers."""

from dataclasses import dataclass, field

import torch

import reference
from decoders import ATTENTION, GATED, NORMS, OUTER, thirds
from record import Recorder, first, run
from variants_vision import IMAGE_TOKEN, VARIANTS

FOLDER = reference.TESTS / "tiny_vision"

LAYER = {
    **OUTER,
    "attn_norm": "layernorm_before|layer_norm1|norm1",
    "attn_q": "attention.q_proj|self_attn.q_proj",
    "attn_k": "attention.k_proj|self_attn.k_proj",
    "attn_v": "attention.v_proj|self_attn.v_proj",
    "attn_q attn_k attn_v": "attn.qkv",
    "attn": "<attention.o_proj|self_attn.out_proj|attn.proj",
    "attn_out": "attention.o_proj|self_attn.out_proj|attn.proj",
    "ffn_norm": "layernorm_after|layer_norm2|norm2",
    "ffn_up": "mlp.fc1",
    "ffn_down": "mlp.fc2",
}


@dataclass(frozen=True)
class Tower:
    """A stack of layers below a model."""

    prefix: str
    layers: str
    frame: dict
    layer: dict = field(default_factory=lambda: LAYER)


def grid_rows(value):
    """Rows of patches of a convolution's [images, width, height, width]."""
    return value.flatten(2).transpose(1, 2)


SPLIT = {"qkv": thirds, "projection": grid_rows, "patch_embedding": grid_rows}
CLIP = Tower(
    "v.",
    "vision_model.encoder.layers",
    {
        "patch_embd": "vision_model.embeddings.patch_embedding",
        "pre_norm": "vision_model.pre_layrnorm",
        "output_norm": "vision_model.post_layernorm",
        "pool_attn": "vision_model.head.attention",
        "pool_norm": "vision_model.head.layernorm",
    },
)
CLIP_TEXT = Tower("t.", "text_model.encoder.layers", {"output_norm": "text_model.final_layer_norm"})
DECODER = Tower(
    "",
    "model.language_model.layers|model.text_model.layers",
    {
        "embed": "<model.language_model.layers.0|model.text_model.layers.0",
        "output_norm": "model.language_model.norm|model.text_model.norm",
        "mm": "model.multi_modal_projector|model.connector|model.visual.merger",
    },
    {**OUTER, **ATTENTION, **NORMS, **GATED},
)


def below(tower, path):
    """A tower whose paths are all below another module."""
    frame = {name: f"{path}.{at}" for name, at in tower.frame.items()}
    return Tower(tower.prefix, f"{path}.{tower.layers}", frame, tower.layer)


TOWERS = {
    "vit": [
        Tower(
            "",
            "vit.layers",
            {
                "patch_embd": "vit.embeddings.patch_embeddings.projection",
                "embed": "vit.embeddings",
                "output_norm": "vit.layernorm",
            },
        )
    ],
    "clip": [CLIP, CLIP_TEXT],
    "siglip": [CLIP, CLIP_TEXT],
    "llava": [
        Tower(
            "v.",
            "model.vision_tower.encoder.layers",
            {"patch_embd": "model.vision_tower.embeddings.patch_embedding", "pre_norm": "model.vision_tower.pre_layrnorm"},
        ),
        DECODER,
    ],
    "smolvlm": [below(CLIP, "model"), DECODER],
    "qwen2_vl": [Tower("v.", "model.visual.blocks", {"patch_embd": "model.visual.patch_embed"}), DECODER],
}
OUTPUTS = {
    "logits": "logits",
    "image_embeds": "image_embd",
    "text_embeds": "text_embd",
    "logits_per_image": "logits_per_image",
}


def text_with_images(model, random, before, image_rows, after):
    """Random tokens with the rows of an image between them."""
    words = torch.randint(3, IMAGE_TOKEN, (before + after,), generator=random)
    return torch.cat([words[:before], torch.full((image_rows,), IMAGE_TOKEN), words[before:]])


def inputs_of(model, random, name):
    """The inputs of a run as transformers wants them."""
    config = model.config
    kind, vision = config.model_type, getattr(config, "vision_config", config)

    def pixels(*shape):
        return torch.randn(shape, generator=random)

    if kind == "qwen2_vl":
        height, width = {"a": (4, 6), "b": (6, 2)}[name]
        inputs = {"pixel_values": pixels(height * width, 3 * vision.temporal_patch_size * vision.patch_size**2)}
        inputs["image_grid_thw"] = torch.tensor([[1, height, width]])
        rows = height * width // vision.spatial_merge_size**2
    elif kind == "smolvlm":
        tiles = {"a": 2, "b": 1}[name]
        inputs = {"pixel_values": pixels(1, tiles, 3, vision.image_size, vision.image_size)}
        rows = tiles * (vision.image_size // vision.patch_size // config.scale_factor) ** 2
    else:
        images = 2 if (kind, name) == ("vit", "a") else 1
        inputs = {"pixel_values": pixels(images, 3, vision.image_size, vision.image_size)}
        rows = (vision.image_size // vision.patch_size) ** 2
    if kind == "vit":
        return inputs
    if kind in ("clip", "siglip"):
        text = config.text_config
        ids = torch.randint(3, text.vocab_size - 1, ({"a": 8, "b": 5}[name],), generator=random)
        ids[-1] = text.eos_token_id
        if kind == "siglip":
            # Padding takes part in attention, and the last row is the text's.
            ids = torch.nn.functional.pad(ids, (0, text.max_position_embeddings - len(ids)), value=text.pad_token_id)
    else:
        ids = text_with_images(model, random, 3, rows, {"a": 5, "b": 2}[name])
    inputs["input_ids"] = ids[None]
    if kind == "qwen2_vl":
        inputs["mm_token_type_ids"] = (ids == IMAGE_TOKEN).int()[None]
    return inputs


def recorded(model, inputs):
    """All values of one run by name."""
    recorder = Recorder()
    for tower in TOWERS[model.config.model_type]:
        recorder.tap(model, tower.frame, tower.prefix, SPLIT)
        for i, layer in enumerate(first(model, tower.layers)):
            recorder.tap(layer, tower.layer, f"{tower.prefix}layers.{i}.", SPLIT)
    # Checks in f64 bring their own type.
    output = run(model, **{k: v.to(model.dtype) if v.is_floating_point() else v for k, v in inputs.items()})
    for field_name, name in OUTPUTS.items():
        if getattr(output, field_name, None) is not None:
            recorder.put(name, getattr(output, field_name))
    return recorder.values


def golden(model, random):
    """Run `b` has all values of each tower's first layer, `a` the outputs of layers and those of the frame."""
    tensors = {}
    for name in "ab":
        inputs = inputs_of(model, random, name)
        tensors[f"pixels_{name}"] = inputs["pixel_values"]
        if "input_ids" in inputs:
            tensors[f"tokens_{name}"] = inputs["input_ids"][0].float()
        if "image_grid_thw" in inputs:
            tensors[f"grid_{name}"] = inputs["image_grid_thw"].float()
            positions, _ = model.model.get_rope_index(
                inputs["input_ids"], inputs["mm_token_type_ids"], image_grid_thw=inputs["image_grid_thw"]
            )
            tensors[f"positions_{name}"] = positions[:, 0].float()
        for key, value in recorded(model, inputs).items():
            _, _, within = key.partition("layers.")
            if "." not in within or (name == "b" and within.startswith("0.")):
                tensors[f"{name}/{key}"] = value
    return tensors


def as_published(model, weights):
    """The names of LLaVA's tower have one part more in checkpoints than transformers writes now."""
    return {k.replace("vision_tower.", "vision_tower.vision_model."): v for k, v in weights.items()}


def make(name):
    """Writes the folder of one variant, and checks it."""
    reference.make(FOLDER / name, VARIANTS[name], golden, convert=as_published)
