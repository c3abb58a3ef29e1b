"""What transformers' image processors (those of Pillow) make of small synthetic pictures."""

import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

import fixture

FOLDER = fixture.TESTS / "tiny_images"
# Name -> mode, width, height.
PICTURES = {"wide": ("RGB", 37, 22), "tall": ("RGBA", 17, 45), "grey": ("L", 24, 24), "small": ("RGB", 9, 7)}
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
OPENAI = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
ALL = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255}
BILINEAR, BICUBIC, LANCZOS = 2, 3, 1

# Fixture -> the preprocessor_config.json that such a checkpoint carries.
VARIANTS = {
    "images_vit": {
        "image_processor_type": "ViTImageProcessor",
        **ALL,
        **HALF,
        "resample": BILINEAR,
        "size": {"height": 16, "width": 16},
    },
    "images_clip": {
        "image_processor_type": "CLIPImageProcessor",
        **ALL,
        **OPENAI,
        "crop_size": {"height": 14, "width": 14},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "resample": BICUBIC,
        "size": {"shortest_edge": 16},
    },
    "images_siglip": {
        "image_processor_type": "SiglipImageProcessor",
        **ALL,
        **HALF,
        "resample": BICUBIC,
        "size": {"height": 18, "width": 18},
    },
    "images_resnet": {
        "image_processor_type": "ConvNextImageProcessor",
        **ALL,
        **IMAGENET,
        "crop_pct": 0.875,
        "resample": BICUBIC,
        "size": {"shortest_edge": 14},
    },
    "images_idefics3": {
        "image_processor_type": "Idefics3ImageProcessor",
        **ALL,
        **HALF,
        "do_convert_rgb": True,
        "do_image_splitting": True,
        "do_pad": True,
        "max_image_size": {"longest_edge": 12},
        "resample": LANCZOS,
        "size": {"longest_edge": 24},
    },
    "images_qwen2_vl": {
        "image_processor_type": "Qwen2VLImageProcessor",
        **ALL,
        **OPENAI,
        "do_convert_rgb": True,
        "max_pixels": 400,
        "merge_size": 2,
        "min_pixels": 64,
        "patch_size": 4,
        "resample": BICUBIC,
        "temporal_patch_size": 2,
    },
}
# Processors that neither convert grey pictures nor drop transparency.
NEED_RGB = ("images_vit", "images_siglip", "images_resnet")
EXTRA = {"images_idefics3": {"return_row_col_info": True}}


def picture(name):
    """Waves of three colours with an edge and a little noise."""
    mode, width, height = PICTURES[name]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = [127 + 100 * torch.sin((x * a + y * b) / 5) for a, b in ((1, 0.3), (0.2, 1), (1, -1))]
    noise = torch.randint(-20, 21, (3, height, width), generator=fixture.generator(name))
    channels = (torch.stack(waves) + noise + 60 * ((x > width // 2) & (y > height // 3))).clamp(0, 255).byte()
    made = Image.fromarray(channels.permute(1, 2, 0).contiguous().numpy(), "RGB")
    if mode == "RGBA":
        made.putalpha(Image.fromarray(((x + y) * 255 // (width + height)).byte().numpy(), "L"))
    return made if mode == "RGBA" else made.convert(mode)


def pictures():
    """Writes the pictures that are not there yet and reads all: another PNG encoder may not change their bytes."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        path = FOLDER / f"{name}.png"
        if not path.exists():
            picture(name).save(path, optimize=True)
        yield name, Image.open(path)


def make(name):
    """Writes the configuration of a processor and what it makes of each picture: `<picture>/pixel_values`, `/grid`."""
    config, golden = VARIANTS[name], {}
    processor = getattr(transformers, config["image_processor_type"] + "Pil").from_dict(dict(config))
    for shown, image in pictures():
        output = processor(image.convert("RGB") if name in NEED_RGB else image, return_tensors="pt", **EXTRA.get(name, {}))
        golden[f"{shown}/pixel_values"] = output["pixel_values"]
        if "image_grid_thw" in output:
            golden[f"{shown}/grid"] = output["image_grid_thw"].float()
        for side in ("rows", "cols"):
            if side in output:
                golden[f"{shown}/{side}"] = torch.tensor(output[side]).float()
    fixture.write_json(FOLDER / name / "preprocessor_config.json", config)
    save_file({k: v.contiguous() for k, v in golden.items()}, FOLDER / name / "golden.safetensors")
    print(FOLDER.name, name, {k: list(v.shape) for k, v in golden.items()})
