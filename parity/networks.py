"""Convolutional networks: ResNet and MobileNetV2 of transformers; an EfficientNet-Lite, the DCGAN generator, a CRNN and a detector of
speech in torch.

Values of pictures are [images x height x width, channels], the last fastest."""

import torch
from torch import nn

import reference
from record import Recorder

FOLDER = reference.TESTS / "tiny_cnn"


class Lite(nn.Module):
    """EfficientNet-Lite: inverted bottlenecks without squeeze and excitation, ReLU6, padding as TensorFlow has it."""

    def __init__(self, config):
        super().__init__()
        self.stem = convolution(3, config["stem"], 3, 2)
        width, blocks = config["stem"], []
        for stage in config["stages"]:
            for i in range(stage["depth"]):
                stride = stage["stride"] if i == 0 else 1
                blocks.append(Inverted(width, stage["width"], stage["expand"], stage["kernel"], stride))
                width = stage["width"]
        self.blocks = nn.ModuleList(blocks)
        self.head = convolution(width, config["head"], 1, 1)
        self.classifier = nn.Linear(config["head"], config["num_labels"])

    def forward(self, pixels):
        x = self.stem(pixels)
        for block in self.blocks:
            x = block(x)
        return self.classifier(self.head(x).mean((2, 3)))


LITE_PARTS = {"_expand_conv": "expand.1", "_bn0": "expand.2", "_depthwise_conv": "depthwise.1", "_bn1": "depthwise.2"}
LITE_PARTS |= {"_project_conv": "project.1", "_bn2": "project.2"}
LITE_WHOLE = {"_conv_stem": "stem.1", "_bn0": "stem.2", "_conv_head": "head.1", "_bn1": "head.2", "_fc": "classifier"}


def lite_name(name):
    """The name that a stored weight of EfficientNet-Lite has in `networks.Lite`."""
    if name.startswith("_blocks."):
        _, number, part, rest = name.split(".", 3)
        return f"blocks.{number}.{LITE_PARTS[part]}.{rest}"
    part, rest = name.split(".", 1)
    return f"{LITE_WHOLE[part]}.{rest}"


class Same(nn.Module):
    """Zeros around a picture so that the output has ceil(size / stride) pixels, the odd one at the end."""

    def __init__(self, kernel, stride):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x):
        pad = []
        for size in reversed(x.shape[2:]):
            total = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
            pad += [total // 2, total - total // 2]
        return nn.functional.pad(x, pad)


def convolution(inputs, outputs, kernel, stride, groups=1, act=True):
    """Padding, convolution, norm and activation."""
    parts = [Same(kernel, stride), nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)]
    return nn.Sequential(*parts, nn.BatchNorm2d(outputs, eps=1e-3), *([nn.ReLU6()] if act else []))


class Inverted(nn.Module):
    """Expansion, depthwise convolution, projection, and the input again where its shape is the same."""

    def __init__(self, inputs, outputs, expand, kernel, stride):
        super().__init__()
        inner = inputs * expand
        self.residual = stride == 1 and inputs == outputs
        self.expand = convolution(inputs, inner, 1, 1) if expand > 1 else nn.Identity()
        self.depthwise = convolution(inner, inner, kernel, stride, groups=inner)
        self.project = convolution(inner, outputs, 1, 1, act=False)

    def forward(self, x):
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class Generator(nn.Module):
    """The generator of DCGAN (Radford et al. 2016) with the names of the usual checkpoints."""

    def __init__(self, config):
        super().__init__()
        widths = [config["latent"], *config["widths"]]
        parts = []
        for i, (a, b) in enumerate(zip(widths, widths[1:])):
            stride, padding = (1, 0) if i == 0 else (2, 1)
            parts += [nn.ConvTranspose2d(a, b, 4, stride, padding, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.main = nn.Sequential(*parts, nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1, bias=False), nn.Tanh())

    def forward(self, latent):
        return self.main(latent)


class BothWays(nn.Module):
    """An LSTM in both directions and a projection, as EasyOCR names them."""

    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        self.rnn = nn.LSTM(inputs, hidden, bidirectional=True, batch_first=True)
        self.linear = nn.Linear(hidden * 2, outputs)

    def forward(self, x):
        return self.linear(self.rnn(x)[0])


class Crnn(nn.Module):
    """The recogniser of EasyOCR's second generation (Shi et al. 2015), with its names."""

    def __init__(self, config):
        super().__init__()
        c = config["network_params"]
        n, hidden = c["output_channel"], c["hidden_size"]
        conv = lambda a, b: [nn.Conv2d(a, b, 3, 1, 1), nn.ReLU()]  # noqa: E731
        normed = [nn.Conv2d(n, n, 3, 1, 1, bias=False), nn.BatchNorm2d(n), nn.ReLU()]
        self.FeatureExtraction = nn.Module()
        self.FeatureExtraction.ConvNet = nn.Sequential(
            *conv(c["input_channel"], n // 8), nn.MaxPool2d(2, 2),
            *conv(n // 8, n // 4), nn.MaxPool2d(2, 2),
            *conv(n // 4, n // 2), *conv(n // 2, n // 2), nn.MaxPool2d((2, 1), (2, 1)),
            nn.Conv2d(n // 2, n, 3, 1, 1, bias=False), nn.BatchNorm2d(n), nn.ReLU(),
            *normed, nn.MaxPool2d((2, 1), (2, 1)),
            nn.Conv2d(n, n, 2, 1, 0), nn.ReLU(),
        )  # fmt: skip
        self.SequenceModeling = nn.Sequential(BothWays(n, hidden, hidden), BothWays(hidden, hidden, hidden))
        self.Prediction = nn.Linear(hidden, len(config["character_list"]) + 1)

    def forward(self, x):
        # Columns become a sequence.
        x = self.FeatureExtraction.ConvNet(x).mean(2).transpose(1, 2)
        return self.Prediction(self.SequenceModeling(x))


class Voice(nn.Module):
    """silero's detector of speech, with its names: chunks [count, samples] to rows, and rows to probabilities."""

    def __init__(self, config):
        super().__init__()
        n, widths = config["n_fft"], config["widths"]
        self.bins, self.hop, self.strides = n // 2 + 1, config["hop_length"], config["strides"]
        self.stft_conv = nn.Conv1d(1, 2 * self.bins, n, self.hop, bias=False)
        for i, (a, b) in enumerate(zip([self.bins, *widths], widths), 1):
            setattr(self, f"conv{i}", nn.Conv1d(a, b, 3, self.strides[i - 1], 1))
        self.lstm_cell = nn.LSTMCell(widths[-1], config["hidden_size"])
        self.final_conv = nn.Conv1d(config["hidden_size"], 1, 1)

    def mirrored(self, chunks):
        """Chunks with a quarter of a window of their own ends mirrored behind them."""
        return nn.functional.pad(chunks[:, None], (0, self.stft_conv.kernel_size[0] // 4), mode="reflect")

    def forward(self, chunks):
        x = self.stft_conv(chunks.flatten(1)[:, None])
        x = (x[:, : self.bins] ** 2 + x[:, self.bins :] ** 2).sqrt()
        for i in range(1, len(self.strides) + 1):
            x = getattr(self, f"conv{i}")(x).relu()
        return x.squeeze(-1)

    def listen(self, rows):
        """The probability of speech of each row, one after another."""
        state, found = None, []
        for row in rows:
            state = self.lstm_cell(row[None], state)
            found.append(self.final_conv(state[0].relu()[..., None]).sigmoid().flatten())
        return torch.stack(found)


def stage(width, depth, expand, kernel, stride):
    """A stage of EfficientNet-Lite."""
    return {"width": width, "depth": depth, "expand": expand, "kernel": kernel, "stride": stride}


def resnet(layer_type, widths):
    """A ResNet checkpoint of transformers."""
    return {
        "architectures": ["ResNetForImageClassification"],
        "model_type": "resnet",
        "depths": [1, 2],
        "downsample_in_bottleneck": False,
        "downsample_in_first_stage": False,
        "embedding_size": 6,
        "hidden_act": "relu",
        "hidden_sizes": widths,
        "id2label": {"0": "left", "1": "middle", "2": "right"},
        "label2id": {"left": 0, "middle": 1, "right": 2},
        "layer_type": layer_type,
        "num_channels": 3,
        "torch_dtype": "float32",
    }


MOBILENET = {
    "architectures": ["MobileNetV2ForImageClassification"],
    "model_type": "mobilenet_v2",
    "depth_divisible_by": 4,
    "depth_multiplier": 0.05,
    "expand_ratio": 2,
    "finegrained_output": False,
    "first_layer_is_expansion": True,
    "hidden_act": "relu6",
    "id2label": {"0": "left", "1": "middle", "2": "right"},
    "image_size": 33,
    "label2id": {"left": 0, "middle": 1, "right": 2},
    "layer_norm_eps": 0.001,
    "min_depth": 4,
    "num_channels": 3,
    "output_stride": 32,
    "tf_padding": True,
    "torch_dtype": "float32",
}
RESNET_TAPS = {"embd": "resnet.embedder", "pooled": "resnet.pooler"} | {
    f"stages.{i}.layers.{j}": f"resnet.encoder.stages.{i}.layers.{j}" for i in range(2) for j in range(2)
}
MOBILENET_TAPS = {"embd": "mobilenet_v2.conv_stem", "head": "mobilenet_v2.conv_1x1", "pooled": "mobilenet_v2.pooler"} | {
    f"layers.{i}": f"mobilenet_v2.layer.{i}" for i in range(16)
}
LITE = {
    "model_type": "efficientnet_lite",
    "stem": 6,
    "stages": [stage(5, 1, 1, 3, 1), stage(6, 2, 3, 3, 2), stage(8, 2, 2, 5, 2)],
    "head": 16,
    "num_labels": 3,
}
LITE_TAPS = {"embd": "stem", "head": "head"} | {f"layers.{i}": f"blocks.{i}" for i in range(5)}
LITE_TAPS |= {f"layers.1.{name}": f"blocks.1.{name}" for name in ("expand", "depthwise", "project")}
CRNN = {
    "model_type": "crnn",
    "imgH": 32,
    "network_params": {"input_channel": 1, "output_channel": 16, "hidden_size": 5},
    "character_list": "abc d",
}
CRNN_TAPS = {f"rnn.{i}": f"SequenceModeling.{i}" for i in range(2)}
VOICE = {
    "model_type": "silero_vad",
    "n_fft": 8,
    "hop_length": 4,
    "widths": [7, 5, 6, 9],
    "strides": [1, 2, 2, 1],
    "hidden_size": 9,
    "chunk_samples": 16,
    "context_samples": 2,
}
DCGAN = {"model_type": "dcgan", "latent": 7, "widths": [10, 6]}
DCGAN_TAPS = {"layers.0": "main.2", "layers.1": "main.5"}

# Fixture -> configuration, its module if it is not transformers', taps, and the shape of an input.
VARIANTS = {
    "resnet_basic": (resnet("basic", [6, 10]), None, RESNET_TAPS, (2, 3, 21, 17)),
    "resnet_bottleneck": (resnet("bottleneck", [12, 16]), None, RESNET_TAPS, (2, 3, 21, 17)),
    "mobilenet_v2": (MOBILENET, None, MOBILENET_TAPS, (1, 3, 33, 29)),
    "efficientnet_lite": (LITE, Lite, LITE_TAPS, (2, 3, 18, 21)),
    "dcgan": (DCGAN, Generator, DCGAN_TAPS, (2, 7, 1, 1)),
    "crnn": (CRNN, Crnn, CRNN_TAPS, (2, 1, 32, 23)),
    "silero_vad": (VOICE, Voice, {}, (5, 1, 1, 20)),
}


def golden(model, random, taps, shape):
    """One run with all values."""
    recorder = Recorder(channels_first=True)
    recorder.tap(model, taps)
    pixels = torch.randn(shape, generator=random)
    with torch.inference_mode():
        output = model(pixels.to(next(model.parameters()).dtype))
        speech = {"speech": model.listen(output).float()} if isinstance(model, Voice) else {}
    recorder.put("output", output if torch.is_tensor(output) else output.logits)
    return {"input_a": pixels} | speech | {f"a/{name}": value for name, value in recorder.values.items()}


def make(name):
    """Writes the folder of one variant, and checks it."""
    config, module, taps, shape = VARIANTS[name]
    start = module and (lambda: module(config).eval())
    reference.make(FOLDER / name, config, lambda model, random: golden(model, random, taps, shape), module=start)
