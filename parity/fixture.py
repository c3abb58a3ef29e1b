"""What all tiny fixtures share: seeded weights that survive copies in F16 and BF16, the files of a folder, the check."""

import json
import tempfile
import zlib
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging

logging.disable_progress_bar()
logging.set_verbosity_error()

TESTS = Path(__file__).parent.parent / "crates/argand-models/tests"


def generator(name):
    """Random numbers that depend on a fixture's name alone."""
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def lossless(value):
    """A value as F16 and BF16 both can hold it."""
    value = value.bfloat16().float()
    return torch.where(value.abs() < 2**-10, 0.0, value)


def write_json(path, value):
    """Writes a JSON file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def write(folder, config, weights, golden):
    """Writes the folder of a fixture: config.json, model.safetensors, golden.safetensors."""
    write_json(folder / "config.json", config)
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    save_file({k: v.contiguous() for k, v in golden.items()}, folder / "golden.safetensors")
    total = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder.parent.name}/{folder.name}: {total} bytes, {len(golden)} golden values", flush=True)


def hub_weights(model):
    """The state of a transformers model under the names that checkpoints of its kind have, tied copies left out."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(Path(folder) / "model.safetensors")


def agree(found, expected, tolerance, what):
    """Fails unless two sets of values are close, relative to the largest of each."""
    assert found.keys() == expected.keys(), f"{what}: {found.keys() ^ expected.keys()}"
    for name, value in expected.items():
        off = (found[name].double() - value.double()).abs().max() / value.abs().max().clamp(min=1e-3)
        assert off <= tolerance, f"{what}: {name} is off by {off:.1e}"
