"""checkpoints.py: writes tiny files as torch.save, numpy.savez and onnx.save leave them, each with its tensors as safetensors.

For NAME.pt (or .npz, ...) the file NAME.safetensors holds what must be read: dense, with doubles rounded to F32.
"""

import io
import json
import shutil
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors.torch import save_file

OUT = Path(__file__).resolve().parent.parent / "crates/argand-weights/tests/checkpoints"


def weights(seed, *shape, dtype=torch.float32):
    """Random values that every float type holds exactly enough to tell one tensor from another."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(dtype)


def expected(tensors):
    """Dense copies, as safetensors wants them; doubles rounded, which is how they are read."""
    rounded = {key: value.float() if value.dtype == torch.float64 else value for key, value in tensors.items()}
    return {key: value.detach().clone().contiguous() for key, value in rounded.items()}


def write(name, thing, tensors, **options):
    """Saves `thing` as NAME.pt, and the tensors that are to be found in it beside."""
    torch.save(thing, OUT / f"{name}.pt", **options)
    save_file(expected(tensors), OUT / f"{name}.safetensors")


def every_dtype():
    floats = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
    whole = [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]
    newer = [torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2]
    tensors = {str(dtype)[6:]: weights(1, 3, 4, dtype=dtype) for dtype in floats}
    tensors |= {str(dtype)[6:]: torch.arange(6).reshape(2, 3).to(dtype) for dtype in whole + newer}
    return tensors


def views():
    base = weights(2, 6, 8)
    cube = weights(3, 2, 3, 4)
    return {
        "whole": base,
        "rows": base[2:5],
        "columns": base[:, 3:7],
        "transposed": base.t(),
        "steps": base[::2, ::3],
        "row": base[4],
        "column": base[:, 5],
        "expanded": base[0].expand(3, 8),
        "number": base[5, 7],
        "permuted": cube.permute(2, 0, 1),
        "one_by_one": cube[:, 1:2, 2:3].transpose(0, 2),
        "half_transposed": base.half().t(),
        "double_transposed": base.double().t(),
        "empty": torch.zeros(0, 5),
        "tied": base,
    }


class Linear(torch.nn.Module):
    """A module with a parameter, a buffer and a tied weight."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(4, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        self.head = torch.nn.Linear(3, 4, bias=False)
        self.embed.weight.data = weights(4, 4, 3)
        self.head.weight = self.embed.weight


def make_torch():
    dtypes, view, module = every_dtype(), views(), Linear()
    state = module.state_dict()
    write("dtypes", dtypes, dtypes)
    write("views", view, view)
    write("legacy", view, view, _use_new_zipfile_serialization=False)
    write("module_state", state, state)
    write("legacy_module_state", state, state, _use_new_zipfile_serialization=False)
    for protocol in (3, 4, 5):
        write(f"protocol_{protocol}", state, state, pickle_protocol=protocol)
    write("parameters", dict(module.named_parameters(remove_duplicate=False)), dict(module.named_parameters(remove_duplicate=False)))
    optimizer = torch.optim.Adam(module.parameters())
    module.embed.weight.grad = torch.ones(4, 3)
    optimizer.step()
    training = {
        "epoch": 3,
        "loss": np.float64(0.25),
        "history": np.arange(3),
        "lr": 1e-3,
        "size": torch.Size([1, 2]),
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "seen": {1, 2},
        "counts": defaultdict(int, a=1),
        "raw": b"bytes",
        "huge": 1 << 100,
        "optimizer": optimizer.state_dict(),
        "model": {"state_dict": OrderedDict(("module." + key, value) for key, value in state.items())},
        "ema": {key: value + 1 if value.is_floating_point() else value for key, value in state.items()},
    }
    write("training", training, state)
    nested = {"encoder": {"layers": [{"w": weights(5, 2, 2)}, {"w": weights(6, 2, 2)}]}, "decoder": {0: weights(7, 3)}}
    flat = {"encoder.layers.0.w": weights(5, 2, 2), "encoder.layers.1.w": weights(6, 2, 2), "decoder.0": weights(7, 3)}
    write("nested", nested, flat)
    torch.serialization.set_crc32_options(False)
    write("without_sums", state, state)
    torch.serialization.set_crc32_options(True)


def compress(name):
    """The same archive with every member deflated, as general zip programs leave it."""
    with zipfile.ZipFile(OUT / "views.pt") as plain, zipfile.ZipFile(OUT / f"{name}.pt", "w", zipfile.ZIP_DEFLATED) as out:
        for member in plain.namelist():
            out.writestr(member, plain.read(member))
    shutil.copy(OUT / "views.safetensors", OUT / f"{name}.safetensors")


def make_shards():
    """A folder as transformers left it before safetensors."""
    folder = OUT / "sharded"
    folder.mkdir(exist_ok=True)
    parts = [{"a": weights(8, 2, 3), "b": weights(9, 3, dtype=torch.float16)}, {"c": weights(10, 4)}]
    names = [f"pytorch_model-{i + 1:05}-of-00002.bin" for i in range(2)]
    for name, part in zip(names, parts):
        torch.save(part, folder / name)
    index = {"metadata": {"total_size": 46}, "weight_map": {key: n for n, part in zip(names, parts) for key in part}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps({"model_type": "tiny"}))
    save_file(expected(parts[0] | parts[1]), OUT / "sharded.safetensors")


def make_numpy():
    array = weights(11, 3, 4).numpy()
    arrays = {
        "f4": array,
        "f2": array.astype(np.float16),
        "f8": array.astype(np.float64),
        "fortran": np.asfortranarray(array),
        "cube": np.asfortranarray(weights(12, 2, 3, 4).numpy()),
        "i8": np.arange(6).reshape(2, 3),
        "u1": np.arange(6, dtype=np.uint8),
        "b1": np.array([True, False]),
        "number": np.float32(2.5),
        "group/inner": array[1],
    }
    np.savez(OUT / "stored.npz", **arrays)
    np.savez_compressed(OUT / "deflated.npz", **arrays)
    dense = {key: torch.from_numpy(np.array(value, order="C", copy=True)) for key, value in arrays.items()}
    for name in ("stored", "deflated"):
        save_file(expected(dense), OUT / f"{name}.safetensors")
    for version in ((1, 0), (2, 0), (3, 0)):
        name = f"version_{version[0]}"
        with open(OUT / f"{name}.npy", "wb") as file:
            np.lib.format.write_array(file, array, version=version)
        save_file({name: torch.from_numpy(array)}, OUT / f"{name}.safetensors")


def make_onnx():
    """Initialisers as raw bytes and as rows of numbers; texts and integers that are written one by one are no weights."""
    tensors = {key: value for key, value in every_dtype().items() if key not in ("uint16", "uint32", "uint64")}
    tensors |= {"empty": torch.zeros(0, 5), "number": torch.tensor(2.5)}
    kinds = {
        "bfloat16": onnx.TensorProto.BFLOAT16,
        "float8_e4m3fn": onnx.TensorProto.FLOAT8E4M3FN,
        "float8_e5m2": onnx.TensorProto.FLOAT8E5M2,
    }

    def raw(name, value):
        if name not in kinds:
            return onnx.numpy_helper.from_array(value.numpy(), name)
        plain = value.view(torch.int16 if name == "bfloat16" else torch.uint8).numpy().tobytes()
        return onnx.helper.make_tensor(name, kinds[name], value.shape, plain, raw=True)

    rows = {"floats": weights(13, 3, 4), "doubles": weights(14, 2, 2, dtype=torch.float64)}
    all_of_them = [raw(name, value) for name, value in tensors.items()]
    for (name, value), kind in zip(rows.items(), (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)):
        all_of_them.append(onnx.helper.make_tensor(name, kind, value.shape, value.flatten().tolist()))
    all_of_them.append(onnx.helper.make_tensor("left_out", onnx.TensorProto.INT64, [2], [1, 2]))
    all_of_them.append(onnx.helper.make_tensor("texts", onnx.TensorProto.STRING, [1], [b"a"]))
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [3, 4]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "floats"], ["y"])], "g", [x], [y], all_of_them)
    onnx.save(onnx.helper.make_model(graph), OUT / "initializers.onnx")
    save_file(expected(tensors | rows), OUT / "initializers.safetensors")


if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    make_torch()
    compress("deflated_views")
    make_shards()
    make_numpy()
    make_onnx()
    print(sum(path.stat().st_size for path in OUT.rglob("*") if path.is_file()), "bytes in", OUT.name)
