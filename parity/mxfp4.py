"""MXFP4 as gpt-oss checkpoints have it: blocks of 32 values of four bits, two in a byte (the even one low), with the
exponent of a power of two (OCP Microscaling Formats 1.0)."""

import torch
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

VALUES = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
BLOCK = 32


def quantise(weight):
    """Blocks [experts, rows, blocks, 16] and scales [experts, rows, blocks] of a weight [experts, columns, rows]."""
    grouped = weight.transpose(1, 2).unflatten(-1, (-1, BLOCK))
    exponent = grouped.abs().amax(-1).log2().floor() - 2
    scaled = grouped / exponent.exp2()[..., None]
    code = (scaled.abs()[..., None] - VALUES).abs().argmin(-1) + 8 * (scaled < 0)
    low, high = code.unflatten(-1, (-1, 2)).unbind(-1)
    return (low | high << 4).to(torch.uint8), (exponent + 127).to(torch.uint8)


def quantise_experts(model, weights):
    """Replaces the experts of a gpt-oss model by what MXFP4 keeps of them, and their weights by blocks and scales."""
    weights = dict(weights)
    for name, parameter in model.named_parameters():
        if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            blocks, scales = quantise(parameter.data)
            parameter.data = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
            del weights[name]
            weights |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
    return weights
