"""tiny_gguf.py [VARIANT ...]: writes model.gguf beside the tiny safetensors checkpoints and checks it with transformers.

It lays tensors and metadata out as llama.cpp's convert_hf_to_gguf.py does: GGUF names, Llama's query and key rows permuted
for interleaved RoPE, one added to Gemma's norm weights, RoPE factors as tensors. The vocabulary is made up.
"""

import json
import math
import shutil
import string
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.numpy import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from fixture import TESTS

TINY = TESTS / "tiny"

# Variant -> dtype of the matrices. Both are lossless for these weights; vectors are always F32.
TWINS = {
    "llama": "f32",
    "llama_llama3": "f16",
    "llama_yarn": "f16",
    "qwen2": "f32",
    "qwen3": "f16",
    "gemma2": "f16",
    "gemma3": "f32",
    "smollm3": "f16",
    "phi3": "f16",
    "phi3_longrope": "f16",
}
PERMUTED = ("llama", "smollm3")
# What transformers' GGUF reader cannot load: it does not know the architecture, or ignores its head size.
UNREADABLE = ("smollm3", "qwen3")


def permute(weight, heads):
    """Reorders each head's rows from half-split to interleaved RoPE pairs."""
    rows = weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1)
    return rows.swapaxes(1, 2).reshape(weight.shape)


def convert(arch, config, name, data):
    """A tensor's values as GGUF has them."""
    if arch in PERMUTED and ".q_proj." in name:
        return permute(data, config["num_attention_heads"])
    if arch in PERMUTED and ".k_proj." in name:
        return permute(data, config["num_key_value_heads"])
    if arch in ("gemma2", "gemma3") and name.endswith("norm.weight"):
        return data + 1
    return data


def llama3_factors(rope, dims):
    """The divisor of each frequency under Llama 3 scaling, written as the tensor rope_freqs.weight."""
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    original, factors = rope["original_max_position_embeddings"], []
    for i in range(0, dims, 2):
        rotations = original / (2 * math.pi * rope["rope_theta"] ** (i / dims))
        smooth = min(max((rotations - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(factors, np.float32)


def add_rope(writer, arch, config, rope, dims):
    """Metadata and tensors of the RoPE scaling."""
    kind = rope["rope_type"]
    if arch != "gemma2":
        writer.add_rope_freq_base(rope["rope_theta"])
    if arch in ("llama", "smollm3", "phi3"):
        writer.add_rope_dimension_count(dims)
    if arch == "phi3":
        writer.add_rope_scaling_orig_ctx_len(config["original_max_position_embeddings"])
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    elif kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
        writer.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
    elif kind == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(rope, dims))
    elif kind == "longrope":
        original = rope["original_max_position_embeddings"]
        scale = config["max_position_embeddings"] / original
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(original)))
        for length in ("long", "short"):
            writer.add_tensor(f"rope_factors_{length}.weight", np.array(rope[f"{length}_factor"], np.float32))


def add_config(writer, arch, config):
    """The metadata that describes the model, but for RoPE."""
    writer.add_type("model")
    writer.add_name(f"tiny {arch}")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if "head_dim" in config:
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    if arch in ("gemma2", "gemma3", "phi3") and config["sliding_window"]:
        writer.add_sliding_window(config["sliding_window"])
    if config.get("attn_logit_softcapping"):
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])


def add_vocabulary(writer, size):
    """A byte-level BPE vocabulary of `size` tokens: three special ones, one merge, single characters."""
    tokens = ["<pad>", "<s>", "</s>", "ab", "\u0120", *string.ascii_letters, *string.digits, *string.punctuation][:size]
    types = [gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (size - 3)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(["a b"])
    writer.add_pad_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)


def rotary(folder, config):
    """The RoPE parameters of global layers, as transformers reads them, and the rotated width of a head."""
    rope = AutoConfig.from_pretrained(folder).rope_parameters
    rope = rope.get("full_attention", rope)
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return rope, int(head * rope.get("partial_rotary_factor", 1.0))


def make(name, dtype):
    """Writes model.gguf of one variant."""
    folder = TINY / name
    config = json.loads((folder / "config.json").read_text())
    arch = config["model_type"].removesuffix("_text")
    writer = gguf.GGUFWriter(folder / "model.gguf", arch)
    add_config(writer, arch, config)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if dtype == "f16" else gguf.LlamaFileType.ALL_F32)
    add_rope(writer, arch, config, *rotary(folder, config))
    add_vocabulary(writer, config["vocab_size"])
    architecture = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == arch)
    names = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
    for tensor, data in load_file(folder / "model.safetensors").items():
        data = convert(arch, config, tensor, data)
        if dtype == "f16" and data.ndim == 2:
            assert (data == data.astype(np.float16)).all(), f"{name} {tensor}: not exact in F16"
            data = data.astype(np.float16)
        writer.add_tensor(names.get_name(tensor, try_suffixes=(".weight", ".bias")), data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def check(name):
    """Loads model.gguf with transformers and compares every weight with the safetensors checkpoint, bit for bit."""
    folder = TINY / name
    expected = load_file(folder / "model.safetensors")
    with tempfile.TemporaryDirectory() as alone:
        shutil.copy(folder / "model.gguf", alone)
        model = AutoModelForCausalLM.from_pretrained(alone, gguf_file="model.gguf", dtype=torch.float32)
    found = {key: value.numpy() for key, value in model.state_dict().items()}
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=0, atol=2**-20, err_msg=f"{name} {key}")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or TWINS:
        make(wanted, TWINS[wanted])
        if not wanted.startswith(UNREADABLE):
            check(wanted)
        print(wanted, (TINY / wanted / "model.gguf").stat().st_size)
