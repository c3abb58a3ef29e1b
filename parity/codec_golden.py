"""codec_golden.py LIBGGML_BASE: writes the golden files of argand-codec.

decode/NAME.blocks    random blocks with sane scales
decode/NAME.f32       their values according to gguf.quants, which ggml's own decoder must confirm
encode/input.f32      values of many kinds
encode/NAME.blocks    their encoding by gguf.quants where it has an encoder, else by ggml

LIBGGML_BASE is a libggml-base.so of any recent release of ggml, for example the one inside the wheel of `pip download
pywhispercpp`.
"""

import ctypes
import sys
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

GOLDEN = Path(__file__).parent.parent / "crates/argand-codec/tests/golden"

# Byte offsets of the f16 fields of a block.
HALVES = {
    "F16": [0],
    "BF16": [],
    "Q8_0": [0],
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
    "IQ4_NL": [0],
    "IQ4_XS": [0],
    "MXFP4": [],
}
BY_GGUF = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]
BY_GGML = ["Q4_K", "Q5_K", "Q6_K"]


def halves(rng, n):
    """Signed f16 of magnitudes 2^-12 to 2^2; the first ones are zero, subnormal and large."""
    values = np.exp2(rng.uniform(-12, 2, n)) * rng.choice([-1, 1], n)
    special = np.array([1000.0, 0.0, -3e-7])[: n - 1]
    values[: len(special)] = special
    return values.astype("<f2")


def random_blocks(rng, name):
    values, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    n = {256: 4, 32: 12, 1: 256}[values]
    blocks = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for at in HALVES[name]:
        blocks[:, at : at + 2] = halves(rng, n).view(np.uint8).reshape(n, 2)
    if name == "BF16":
        blocks = rng.normal(size=n).astype("<f4").view("<u2")[1::2].copy().view(np.uint8).reshape(-1, 2)
    if name == "MXFP4":
        blocks[:, 0] = np.minimum(blocks[:, 0], 252)  # 12 * 2^(253 - 128) overflows
        blocks[:4, 0] = [0, 1, 2, 252]
    return blocks


def encoder_input(rng):
    """Eight super-blocks: as in trained weights, with outliers, one-sided, sparse, tiny, flat, and a slow wave."""
    rows = rng.normal(size=(8, 256)) * 0.02
    rows[1] = rng.standard_t(3, 256) * 0.05
    rows[2] = rng.uniform(0.5, 3.0, 256)
    rows[3] = -np.abs(rows[3])
    rows[4] *= rng.random(256) < 0.2
    rows[4, 64:128] = 0.0
    rows[5] *= 1e-4
    rows[6, :128] = 0.75
    rows[7] = np.sin(np.arange(256) / 9.0) * 4.0
    return rows.astype("<f4")


def floats(array):
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


def ggml_decode(ggml, name, blocks, n):
    out = np.empty(n, "<f4")
    decode = getattr(ggml, f"dequantize_row_{name.lower().replace('_k', '_K')}")
    decode(blocks.ctypes.data_as(ctypes.c_void_p), floats(out), ctypes.c_int64(n))
    return out


def ggml_encode(ggml, name, values):
    kind = GGMLQuantizationType[name]
    per_block, size = GGML_QUANT_SIZES[kind]
    out = np.zeros(values.size // per_block * size, np.uint8)
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    written = ggml.ggml_quantize_chunk(
        ctypes.c_int(kind),
        floats(values),
        out.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_int64(0),
        ctypes.c_int64(values.shape[0]),
        ctypes.c_int64(values.shape[1]),
        None,
    )
    assert written == out.nbytes, (name, written, out.nbytes)
    return out


def main():
    ggml = ctypes.CDLL(sys.argv[1])
    for folder in ("decode", "encode"):
        (GOLDEN / folder).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20240229)
    for name in HALVES:
        kind = GGMLQuantizationType[name]
        blocks = random_blocks(rng, name)
        values = quants.dequantize(blocks, kind).astype("<f4").ravel()
        assert np.isfinite(values).all(), name
        if name not in ("F16", "BF16"):
            confirmed = ggml_decode(ggml, name, blocks, values.size)
            same = (confirmed.view("<u4") == values.view("<u4")).mean()
            print(f"{name}: ggml confirms {same:.2%}")
            assert same == 1.0
        blocks.tofile(GOLDEN / f"decode/{name}.blocks")
        values.tofile(GOLDEN / f"decode/{name}.f32")

    values = encoder_input(rng)
    values.tofile(GOLDEN / "encode/input.f32")
    for name in BY_GGUF:
        blocks = quants.quantize(values, GGMLQuantizationType[name])
        blocks.tofile(GOLDEN / f"encode/{name}.blocks")
    for name in BY_GGML:
        ggml_encode(ggml, name, values).tofile(GOLDEN / f"encode/{name}.blocks")


main()
