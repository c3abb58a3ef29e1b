"""Encoder-decoder transformers (T5): the runs, and greedy decoding."""

import torch

import reference
from record import Recorder, run

FOLDER = reference.TESTS / "tiny_seq2seq"
LENGTHS = {"a": (13, 5), "b": (6, 4)}
GENERATED = 8

FEED_FORWARD = {
    "ffn_norm": "layer_norm",
    "ffn_gate": "DenseReluDense.wi_0",
    "ffn_up": "DenseReluDense.wi|DenseReluDense.wi_1",
    "ffn_down": "DenseReluDense.wo",
}


def attention(module, kind):
    """The taps of self-attention (`attn`) or attention to the encoder (`cross_attn`)."""
    taps = {f"{kind}_{name}": f"{module}.{name}" for name in "qkv"}
    return taps | {f"{kind}_norm": "layer_norm", kind: f"<{module}.o", f"{kind}_out": f"{module}.o"}


SELF, CROSS = attention("SelfAttention", "attn"), attention("EncDecAttention", "cross_attn")
SIDES = {"enc": ("encoder", [SELF, FEED_FORWARD]), "dec": ("decoder", [SELF, CROSS, FEED_FORWARD])}


def t5(**more):
    """A T5 checkpoint with so few and near buckets of distances that a short text meets all; `more` overrides fields."""
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "d_ff": 17,
        "d_kv": 5,
        "d_model": 12,
        "decoder_start_token_id": 0,
        "dropout_rate": 0.1,
        "eos_token_id": 1,
        "feed_forward_proj": "relu",
        "is_encoder_decoder": True,
        "layer_norm_epsilon": 1e-6,
        "num_decoder_layers": 2,
        "num_heads": 3,
        "num_layers": 2,
        "pad_token_id": 0,
        "relative_attention_max_distance": 11,
        "relative_attention_num_buckets": 8,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "vocab_size": 31,
    } | more


VARIANTS = {
    "t5": t5(),
    "t5_gated": t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False, num_decoder_layers=1),
}


def recorded(model, tokens, decoded):
    """All values of one run by name."""
    recorder = Recorder()
    for side, (module, tables) in SIDES.items():
        stack = getattr(model, module)
        recorder.tap(stack, {"output_norm": "final_layer_norm"}, f"{side}.")
        for i, block in enumerate(stack.block):
            recorder.tap(block, {".": ""}, f"{side}.layers.{i}.")
            for part, table in zip(block.layer, tables, strict=True):
                recorder.tap(part, table, f"{side}.layers.{i}.")
    output = run(model, input_ids=tokens[None], decoder_input_ids=decoded[None])
    recorder.put("logits", output.logits)
    return recorder.values


def golden(model, random):
    """Run `b` has all values of each side's first layer, `a` the outputs of layers and greedy tokens."""
    tensors, vocabulary = {}, model.config.vocab_size
    for name, lengths in LENGTHS.items():
        tokens, decoded = (torch.randint(2, vocabulary, (n,), generator=random) for n in lengths)
        decoded[0] = model.config.decoder_start_token_id
        tensors |= {f"tokens_{name}": tokens.float(), f"decoder_tokens_{name}": decoded.float()}
        for key, value in recorded(model, tokens, decoded).items():
            if key.count(".") < 3 or (name == "b" and ".layers.0." in key):
                tensors[f"{name}/{key}"] = value
        model.generation_config.eos_token_id = None
        with torch.inference_mode():
            generated = model.generate(tokens[None], max_new_tokens=GENERATED, do_sample=False, num_beams=1)
        tensors[f"generated_{name}"] = generated[0].float()
    return tensors


def make(name):
    """Writes the folder of one variant, and checks it."""
    reference.make(FOLDER / name, VARIANTS[name], golden)
