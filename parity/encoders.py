"""Encoders of the BERT kind with their heads: one run is one sequence, or two with segments."""

from functools import partial

import torch

import reference
from record import Recorder, first, record_rope, run
from variants_encoders import VARIANTS

FOLDER = reference.TESTS / "tiny_encoders"
LENGTHS = {"a": 11, "b": 6}

# Paths below a layer, whatever family it is of.
LAYER = {
    ".": "",
    "attn_norm": "attn_norm",
    "attn_q": "attention.self.query|attention.query|attention.attn.q|attention.q_lin",
    "attn_k": "attention.self.key|attention.key|attention.attn.k|attention.k_lin",
    "attn_v": "attention.self.value|attention.value|attention.attn.v|attention.v_lin",
    "attn_q attn_k attn_v": "attn.Wqkv",
    "attn_out": "attention.output.dense|attention.dense|attention.attn.o|attention.out_lin|attn.Wo",
    "attn_out_norm": "attention.output.LayerNorm|attention.LayerNorm|sa_layer_norm",
    "ffn_norm": "mlp_norm",
    "ffn_gate ffn_up": "mlp.Wi",
    "ffn_up": "intermediate.dense|ffn.lin1|ffn",
    "ffn_down": "output.dense|ffn.lin2|ffn_output|mlp.Wo",
}
LAYER["attn"] = "<" + LAYER["attn_out"]
LAYERS = "encoder.layer|transformer.layer|layers"
# Below the model without its head.
FRAME = {
    "token_embd_norm": "embeddings.LayerNorm|embeddings.norm",
    "embed": "embeddings_project|encoder.embedding_hidden_mapping_in",
    "output_norm": "final_norm",
    "pooler": "pooler_activation|pooler",
}
HEAD = {
    "head_dense": "cls.predictions.transform.dense|predictions.dense|generator_predictions.dense|lm_head.dense"
    "|vocab_transform|head.dense|classifier.dense|pre_classifier",
    "head_norm": "cls.predictions.transform.LayerNorm|predictions.LayerNorm|generator_predictions.LayerNorm"
    "|lm_head.layer_norm|vocab_layer_norm|head.norm",
}
SPLIT = {"Wqkv": lambda value: value.chunk(3, dim=-1), "Wi": lambda value: value.chunk(2, dim=-1)}


def recorded(model, inputs):
    """All values of one run by name."""
    recorder, base = Recorder(), model.base_model
    recorder.tap(base, FRAME)
    recorder.tap(model, HEAD)
    shared = first(base, "encoder.albert_layer_groups.0.albert_layers.0")
    if shared:
        recorder.tap(shared, LAYER, "layers.{}.")
    else:
        for i, layer in enumerate(first(base, LAYERS)):
            recorder.tap(layer, LAYER, f"layers.{i}.", SPLIT)
    if model.config.model_type == "modernbert":
        record_rope(recorder, model)
    output = run(model, **{name: value[None] for name, value in inputs.items()})
    if hasattr(output, "logits"):
        recorder.put("logits", output.logits)
    return recorder.values


def inputs_of(model, random, length, pair):
    """Token ids, and for a pair the segment of each token: the first four tenths are the first text."""
    inputs = {"input_ids": torch.randint(5, model.config.vocab_size, (length,), generator=random)}
    if pair:
        inputs["token_type_ids"] = (torch.arange(length) >= length * 2 // 5).long()
    return inputs


def golden(model, random, pair):
    """Run `b` has all values of the first layer and, in ModernBERT, of the first with a window; `a` those of the frame."""
    tensors = {}
    for name, length in LENGTHS.items():
        inputs = inputs_of(model, random, length, pair)
        tensors[f"tokens_{name}"] = inputs["input_ids"].float()
        if pair:
            tensors[f"segments_{name}"] = inputs["token_type_ids"].float()
        for key, value in recorded(model, inputs).items():
            _, layer, *leaf = key.split(".") if key.startswith("layers.") else ("", "0")
            if not leaf or leaf == ["attn"] or (name == "b" and int(layer) < 2 - (model.config.model_type != "modernbert")):
                tensors[f"{name}/{key}"] = value
    return tensors


def make(name):
    """Writes the folder of one variant, and checks it."""
    config, pair = VARIANTS[name]
    reference.make(FOLDER / name, config, partial(golden, pair=pair))
