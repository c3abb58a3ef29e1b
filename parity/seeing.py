"""What transformers says of pictures, from files to words: `tiny_vision/` folders with a tokenizer, a processor and a template.

Run after vision.py, whose models these are."""

import json

import torch
import transformers
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

import fixture
import images
import reference
from fixture import write_json
from variants_vision import IMAGE_TOKEN

FOLDER = reference.TESTS / "tiny_vision"
SHOWN = ("wide", "tall")
PROMPT = "what is in the picture"
LABELS = ["a dog", "the sea and a road", "red"]
WORDS = "what is in the picture a an and dog cat sea road red blue user assistant on of sky house".split()
MOST = 12

TILES = [f"<row_{row}_col_{col}>" for row in (1, 2) for col in (1, 2)]
# Fixture -> tokens beside words, by number.
SPECIAL = {
    "clip": {0: "<pad>", 1: "<s>", 2: "<unk>", 30: "</s>"},
    "siglip": {0: "<s>", 1: "<pad>", 2: "<unk>", 30: "</s>"},
    "llava": {0: "<pad>", 1: "<s>", 2: "</s>", 3: "<unk>", IMAGE_TOKEN: "<image>"},
    "smolvlm": {
        **{0: "<pad>", 1: "<s>", 2: "<end_of_utterance>", 3: "<unk>", 28: "\n\n", 29: "\n"},
        **dict(zip(range(30, 34), TILES)),
        **{34: "<global-img>", 35: "<fake_token_around_image>", IMAGE_TOKEN: "<image>"},
    },
    "qwen2_vl": {
        **{0: "<pad>", 1: "<s>", 2: "</s>", 3: "<unk>", 33: "<|vision_start|>", 34: "<|vision_end|>"},
        **{35: "<|video_pad|>", IMAGE_TOKEN: "<|image_pad|>"},
    },
}
# The parts of the usual templates that matter here.
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} {% for c in m['content'] %}{% if c['type'] == 'image' %}IMAGE"
    "{% else %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}assistant{% endif %}"
)
IMAGES = {"qwen2_vl": "<|vision_start|><|image_pad|><|vision_end|>"}
PROCESSORS = {
    "vit": ("images_vit", {"size": {"height": 12, "width": 12}}),
    "clip": ("images_clip", {"size": {"shortest_edge": 14}, "crop_size": {"height": 12, "width": 12}}),
    "siglip": ("images_siglip", {"size": {"height": 12, "width": 12}}),
    "llava": ("images_clip", {"size": {"shortest_edge": 12}, "crop_size": {"height": 12, "width": 12}}),
    "smolvlm": ("images_idefics3", {"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 16}}),
    "qwen2_vl": ("images_qwen2_vl", {}),
}
VARIANTS = {f"seeing_{name}": name for name in PROCESSORS}


def tokenizer(name):
    """Whole words and the special tokens of a family, each at its number."""
    special = SPECIAL[name]
    free = [i for i in range(37) if i not in special]
    vocabulary = {**{word: i for i, word in zip(free, WORDS)}, **{token: i for i, token in special.items()}}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.decoder = decoders.WordPiece()
    if name in ("clip", "siglip"):
        ends = [("<s>", 1), ("</s>", 30)] if name == "clip" else [("</s>", 30)]
        single = "<s> $A </s>" if name == "clip" else "$A </s>"
        made.post_processor = processors.TemplateProcessing(single=single, special_tokens=ends)
    made.add_special_tokens([AddedToken(token, normalized=False) for token in special.values()])
    return made


def write_text_side(folder, name):
    """Writes tokenizer.json and its configuration with a template; what transformers reads of them."""
    special = SPECIAL[name]
    eos = "<end_of_utterance>" if name == "smolvlm" else "</s>"
    named = {"bos_token": "<s>", "eos_token": eos, "pad_token": "<pad>", "unk_token": "<unk>"}
    tokenizer(name).save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **named})
    template = TEMPLATE.replace("IMAGE", IMAGES.get(name, "<image>"))
    if IMAGE_TOKEN in special:
        write_json(folder / "chat_template.json", {"chat_template": template})
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **named)
    return fast, template


def image_processor(folder, name):
    """Writes preprocessor_config.json; the processor of Pillow."""
    base, changes = PROCESSORS[name]
    config = {**images.VARIANTS[base], **changes}
    write_json(folder / "preprocessor_config.json", config)
    return getattr(transformers, config["image_processor_type"] + "Pil").from_dict(dict(config))


def whole_processor(name, pixels, text, template):
    """The processor of a family."""
    if name == "llava":
        more = {"patch_size": 4, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
        return transformers.LlavaProcessor(pixels, text, chat_template=template, **more)
    if name == "smolvlm":
        return transformers.Idefics3Processor(pixels, text, image_seq_len=4, chat_template=template)
    return Qwen2VL(pixels, text, template)


class Qwen2VL:
    """The processor of Qwen2-VL without its part for videos, which needs torchvision."""

    def __init__(self, pixels, text, template):
        self.pixels, self.text, self.template = pixels, text, template

    def apply_chat_template(self, messages, **options):
        return self.text.apply_chat_template(messages, chat_template=self.template, tokenize=False, **options)

    def __call__(self, text, images, return_tensors):
        seen = self.pixels(images, return_tensors=return_tensors)
        for grid in seen["image_grid_thw"]:
            text = text.replace("<|image_pad|>", "<|row|>" * (int(grid.prod()) // self.pixels.merge_size**2), 1)
        words = self.text(text.replace("<|row|>", "<|image_pad|>"), return_tensors=return_tensors)
        return {**seen, **words, "mm_token_type_ids": (words["input_ids"] == IMAGE_TOKEN).int()}


def picture(name, model):
    """A picture as its processor wants it."""
    opened = Image.open(images.FOLDER / f"{name}.png")
    return opened.convert("RGB") if PROCESSORS[model][0] in images.NEED_RGB else opened


def described(name, model, processor, shown):
    """The prompt and the likeliest words behind it, for some pictures in one turn."""
    content = [{"type": "image"}] * len(shown) + [{"type": "text", "text": PROMPT}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(text=text, images=[picture(one, name) for one in shown], return_tensors="pt")
    inputs.pop("token_type_ids", None)
    with torch.inference_mode():
        output = model.generate(**inputs, do_sample=False, max_new_tokens=MOST, eos_token_id=None, pad_token_id=0)
    tokens = inputs["input_ids"][0].tolist()
    return {"pictures": list(shown), "prompt": PROMPT, "tokens": tokens, "generated": output[0, len(tokens) :].tolist()}


def compared(name, model, pixels, text):
    """Vectors of pictures and labels, and how well each goes with each."""
    inputs = pixels([picture(shown, name) for shown in SHOWN], return_tensors="pt")
    length = {"padding": "max_length", "max_length": 12} if name == "siglip" else {"padding": True}
    words = text(LABELS, return_tensors="pt", **length)
    mask = {} if name == "siglip" else {"attention_mask": words["attention_mask"]}
    with torch.inference_mode():
        output = model(input_ids=words["input_ids"], pixel_values=inputs["pixel_values"], **mask)
    logits = output.logits_per_image
    found = torch.sigmoid(logits) if name == "siglip" else logits.softmax(-1)
    vectors = {"image_embeds": output.image_embeds.tolist(), "text_embeds": output.text_embeds.tolist()}
    return {"pictures": list(SHOWN), "labels": LABELS, "probabilities": found.tolist(), **vectors}


def make(fixture_name):
    """Writes the files beside a model, and `seeing.json`."""
    name = VARIANTS[fixture_name]
    folder = FOLDER / name
    config = json.loads((folder / "config.json").read_text())
    model = reference.start(folder, config, "eager")
    pixels = image_processor(folder, name)
    if name == "vit":
        inputs = pixels([picture(shown, name) for shown in SHOWN], return_tensors="pt")
        with torch.inference_mode():
            found = model(**inputs).logits.softmax(-1).tolist()
        write_json(folder / "seeing.json", {"pictures": list(SHOWN), "probabilities": found})
        return
    text, template = write_text_side(folder, name)
    if name in ("clip", "siglip"):
        write_json(folder / "seeing.json", compared(name, model, pixels, text))
        return
    processor = whole_processor(name, pixels, text, template)
    runs = [described(name, model, processor, shown) for shown in (SHOWN[:1], SHOWN[1:], SHOWN)]
    write_json(folder / "seeing.json", runs)
    print(name, [run["generated"] for run in runs])
