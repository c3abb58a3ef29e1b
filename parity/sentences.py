"""Folders as sentence-transformers writes them: a BERT with a tokenizer, and the modules after it."""

import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

import fixture
import reference
from fixture import write_json
from variants_encoders import bert

FOLDER = reference.TESTS / "tiny_sentences"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["the", "and", "##ing", "##ed"]
LONGEST = 16
TEXTS = ["the cat and the dog", "Sleeping", "A théme walked and walked and walked and walked away", "é 7", ""]
POOLINGS = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
WIDTH, DENSE_WIDTH = 12, 7

# Fixture -> kind of pooling, and the modules after it.
VARIANTS = {
    "sentences_mean": ("mean_tokens", ["Normalize"]),
    "sentences_cls_dense": ("cls_token", ["Dense", "Normalize"]),
    "sentences_max": ("max_tokens", []),
}


def tokenizer():
    """A WordPiece tokenizer that knows all letters and a few words."""
    vocabulary = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS]
    made = Tokenizer(models.WordPiece({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.add_special_tokens(SPECIAL)
    return made


def write_modules(folder, pooling, after, random):
    """Writes modules.json and what it points to."""
    modules = ["Transformer", "Pooling", *after]
    rows = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(modules)
    ]
    write_json(folder / "modules.json", rows)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": LONGEST, "do_lower_case": False})
    modes = {f"pooling_mode_{mode}": mode == pooling for mode in POOLINGS}
    write_json(folder / "1_Pooling/config.json", {"word_embedding_dimension": WIDTH, **modes})
    if "Dense" in after:
        config = {"in_features": WIDTH, "out_features": DENSE_WIDTH, "bias": True}
        config["activation_function"] = "torch.nn.modules.activation.Tanh"
        write_json(folder / "2_Dense/config.json", config)
        shapes = {"linear.weight": (DENSE_WIDTH, WIDTH), "linear.bias": (DENSE_WIDTH,)}
        weights = {k: fixture.lossless(torch.randn(shape, generator=random) * 0.4) for k, shape in shapes.items()}
        save_file(weights, folder / "2_Dense/model.safetensors", metadata={"format": "pt"})


def golden(folder):
    """The tokens of each text, what the transformer says of them, and the vectors of sentence-transformers."""
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    tensors = {}
    for i, text in enumerate(TEXTS):
        features = model.preprocess([text])
        with torch.inference_mode():
            values = model.forward(features)
        tensors[f"tokens_{i}"] = features["input_ids"][0].float()
        tensors[f"{i}/token_embeddings"] = values["token_embeddings"][0]
    # In one batch, so that the texts are padded.
    tensors["embeddings"] = torch.tensor(model.encode(TEXTS, batch_size=len(TEXTS)))
    return tensors


def make(name):
    """Writes the folder of one variant. The values come from a second reading of it."""
    pooling, after = VARIANTS[name]
    folder, random = FOLDER / name, fixture.generator(name)
    made = tokenizer()
    config = bert("BertModel", vocab_size=made.get_vocab_size())
    model = reference.start(None, config, "eager")
    reference.initialise(model, random)
    write_modules(folder, pooling, after, random)
    model.save_pretrained(folder)
    made.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": True})
    write_json(folder / "texts.json", TEXTS)
    fixture.write(folder, config, fixture.hub_weights(model), golden(folder))
