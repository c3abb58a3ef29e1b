"""Recurrent networks of torch and in ONNX's layout, an encoder-decoder GRU, and decoding by CTC and CRF.

The last two are checked by brute force: the golden answer is the best of all paths."""

import itertools
from collections import defaultdict
from functools import partial

import onnx
import torch
from onnx import helper
from onnx.reference import ReferenceEvaluator
from safetensors.torch import load_file
from torch import nn

import fixture
import reference

FOLDER = reference.TESTS / "tiny_rnn"
LENGTHS = {"a": 9, "b": 5}
# Where ONNX's gates are among torch's: LSTM i f g o -> i o f c, GRU r z n -> z r h.
ONNX_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}


def rnn(kind, **more):
    """A configuration: sizes, layers, directions, biases; `more` overrides."""
    base = {"model_type": kind.lower(), "input_size": 5, "hidden_size": 4, "num_layers": 1}
    return base | {"bidirectional": False, "bias": True, "layout": "torch"} | more


def network(config):
    """The torch module of a configuration."""
    sizes = (config["input_size"], config["hidden_size"], config["num_layers"])
    more = {"bias": config["bias"], "bidirectional": config["bidirectional"], "batch_first": True}
    return getattr(nn, config["model_type"].upper())(*sizes, **more).eval()


def golden(model, random):
    """Run `a` begins with zeros, `b` with a given state. States are [layers x directions, hidden], as torch has them."""
    tensors = {}
    kind = next(model.parameters()).dtype
    for name, length in LENGTHS.items():
        inputs = torch.randn(1, length, model.input_size, generator=random)
        count = model.num_layers * (2 if model.bidirectional else 1)
        names = ["h", "c"] if isinstance(model, nn.LSTM) else ["h"]
        start = [torch.randn(count, 1, model.hidden_size, generator=random) * (name == "b") for _ in names]
        states = [s.to(kind) for s in start]
        with torch.inference_mode():
            output, end = model(inputs.to(kind), tuple(states) if len(states) == 2 else states[0])
        tensors |= {f"input_{name}": inputs[0], f"{name}/output": output[0].float()}
        for letter, first, last in zip(names, start, end if len(states) == 2 else [end]):
            tensors |= {f"{letter}_0_{name}": first[:, 0], f"{name}/{letter}_n": last[:, 0].float()}
    return tensors


def onnx_weights(model, weights):
    """W, R and B of a one-layer network: [directions, gates x hidden, ...] in ONNX's order of gates."""
    order = ONNX_GATES[type(model).__name__]
    ends = ["", "_reverse"] if model.bidirectional else [""]

    def gates(name):
        return torch.cat([weights[name].chunk(len(order))[i] for i in order])

    stacked = {
        short: torch.stack([gates(f"weight_{long}_l0{end}") for end in ends]) for short, long in (("W", "ih"), ("R", "hh"))
    }
    biases = [torch.cat([gates(f"bias_ih_l0{end}"), gates(f"bias_hh_l0{end}")]) for end in ends]
    return stacked | {"B": torch.stack(biases)}


def onnx_output(kind, weights, inputs, before_reset):
    """What onnx's reference evaluator makes of a sequence from a zero state, in its only direction."""
    names = ["X", *weights]
    more = {"linear_before_reset": int(before_reset)} if kind == "GRU" else {}
    node = helper.make_node(kind, names, ["Y"], hidden_size=weights["R"].shape[2], **more)
    kinds = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in (*names, "Y")]
    graph = helper.make_graph([node], "rnn", kinds[:-1], kinds[-1:])
    feeds = {name: value.numpy() for name, value in ({"X": inputs[:, None]} | weights).items()}
    (output,) = ReferenceEvaluator(helper.make_model(graph)).run(None, feeds)
    return torch.from_numpy(output)[:, 0, 0]


def make_network(name, config):
    """A torch network, or one in ONNX's layout whose values are torch's or, for the older GRU, onnx's own."""
    folder = FOLDER / name
    reference.make(folder, config, golden, module=partial(network, config))
    if config["layout"] == "torch":
        return
    weights = load_file(folder / "model.safetensors")
    values = load_file(folder / "golden.safetensors")
    kind, before = config["model_type"].upper(), config.get("linear_before_reset", True)
    turned = onnx_weights(network(config), weights)
    outputs = {f"{run}/output": onnx_output(kind, turned, values[f"input_{run}"], before) for run in "a"}
    if before:
        fixture.agree(outputs, {k: values[k] for k in outputs}, 1e-5, name)
    else:
        values = {k: v for k, v in values.items() if k == "input_a"} | outputs
    fixture.write(folder, config, turned, values)


class Speller(nn.Module):
    """An encoder-decoder of two GRU cells with the names of g2p_en's arrays; it stops at `end` or after `longest`."""

    def __init__(self, config):
        super().__init__()
        inputs, outputs, width, hidden = (config[k] for k in ("graphemes", "phonemes", "width", "hidden"))
        shapes = {"fc_w": (outputs, hidden), "fc_b": (outputs,), "enc_emb": (inputs, width), "dec_emb": (outputs, width)}
        for side in ("enc", "dec"):
            shapes |= {f"{side}_w_ih": (3 * hidden, width), f"{side}_w_hh": (3 * hidden, hidden)}
            shapes |= {f"{side}_b_ih": (3 * hidden,), f"{side}_b_hh": (3 * hidden,)}
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.zeros(shape)))
        self.config_ = config

    def cell(self, side, token, state):
        """One step of the encoder or the decoder."""
        parameters = (getattr(self, f"{side}_{name}") for name in ("w_ih", "w_hh", "b_ih", "b_hh"))
        return torch.gru_cell(getattr(self, f"{side}_emb")[token][None], state, *parameters)

    def forward(self, tokens):
        """Greedy phonemes, the logits of each step, and the encoder's states."""
        state, states, logits = self.fc_w.new_zeros(1, self.config_["hidden"]), [], []
        for token in tokens:
            state = self.cell("enc", token, state)
            states.append(state)
        spelled = [self.config_["start"]]
        while len(spelled) <= self.config_["longest"] and spelled[-1] != self.config_["end"]:
            state = self.cell("dec", spelled[-1], state)
            logits.append(nn.functional.linear(state, self.fc_w, self.fc_b))
            spelled.append(int(logits[-1].argmax()))
        return torch.tensor(spelled[1:]), torch.cat(logits), torch.cat(states)


SPELLER = {"model_type": "g2p_gru", "graphemes": 13, "phonemes": 11, "width": 6, "hidden": 8}
SPELLER |= {"start": 2, "end": 3, "longest": 12}


def spelled(model, random):
    """Two words."""
    tensors = {}
    for name, length in LENGTHS.items():
        tokens = torch.randint(0, SPELLER["graphemes"], (length,), generator=random)
        with torch.inference_mode():
            phonemes, logits, states = model(tokens)
        tensors |= {f"tokens_{name}": tokens.float(), f"generated_{name}": phonemes.float()}
        tensors |= {f"{name}/logits": logits.float(), f"{name}/enc": states.float()}
    return tensors


def ragged(rows, fill=-1.0):
    """Sequences of different lengths as a matrix, filled up at the ends."""
    return nn.utils.rnn.pad_sequence([torch.tensor(row).float() for row in rows], batch_first=True, padding_value=fill)


def collapse(path):
    """The labels of a CTC path: repetitions are one, blanks (0) are none."""
    return tuple(label for label, _ in itertools.groupby(path) if label != 0)


def make_ctc(name):
    """Six frames of four classes, of which 0 is the blank: the greedy labels, and the five likeliest of all labellings
    with their log-probabilities, over all paths. torch's CTC loss agrees on each."""
    random, values = fixture.generator(name), {}
    for run in "abc":
        scores = (torch.randn(6, 4, generator=random) * 1.5).log_softmax(-1)
        totals = defaultdict(list)
        for path in itertools.product(range(4), repeat=6):
            totals[collapse(path)].append(scores[range(6), path].double().sum())
        best = sorted(((torch.stack(v).logsumexp(0), k) for k, v in totals.items()), reverse=True)[:5]
        for total, labels in best:
            loss = nn.functional.ctc_loss(
                scores.double()[:, None], torch.tensor([labels]), (6,), (len(labels),), reduction="none"
            )
            assert abs(loss.item() + total.item()) < 1e-9
        values[f"log_probs_{run}"] = scores
        values[f"{run}/greedy"] = ragged([collapse(scores.argmax(-1).tolist())])[0]
        values[f"{run}/labels"] = ragged([labels for _, labels in best])
        values[f"{run}/scores"] = torch.stack([total for total, _ in best]).float()
    write_values(name, {"model_type": "ctc", "blank": 0}, {}, values)


def make_crf(name):
    """A linear chain over four tags, with the names of pytorch-crf: the best of all paths, its score, and the log of the
    partition function."""
    random = fixture.generator(name)
    shapes = {"transitions": (4, 4), "start_transitions": (4,), "end_transitions": (4,)}
    weights = {k: fixture.lossless(torch.randn(shape, generator=random)) for k, shape in shapes.items()}
    values = {}
    for run, length in (("a", 6), ("b", 1), ("c", 4)):
        emissions = torch.randn(length, 4, generator=random)

        def score(path):
            total = weights["start_transitions"][path[0]] + weights["end_transitions"][path[-1]]
            total = total + emissions[range(length), path].sum()
            return total + sum(weights["transitions"][a, b] for a, b in zip(path, path[1:]))

        paths = list(itertools.product(range(4), repeat=length))
        scores = torch.stack([score(path) for path in paths])
        values[f"emissions_{run}"] = emissions
        values[f"{run}/tags"] = torch.tensor(paths[int(scores.argmax())]).float()
        values[f"{run}/score"] = scores.max()[None]
        values[f"{run}/partition"] = scores.double().logsumexp(0).float()[None]
    write_values(name, {"model_type": "crf", "num_tags": 4}, weights, values)


def write_values(name, config, weights, values):
    """A fixture without a network."""
    fixture.write(FOLDER / name, config, weights, values)


STACKED = {"num_layers": 2, "bidirectional": True}
ONNX = {"layout": "onnx"}
VARIANTS = {
    "lstm": partial(make_network, config=rnn("LSTM")),
    "lstm_stacked": partial(make_network, config=rnn("LSTM", **STACKED)),
    "lstm_no_bias": partial(make_network, config=rnn("LSTM", bias=False)),
    "lstm_onnx": partial(make_network, config=rnn("LSTM", **ONNX)),
    "gru": partial(make_network, config=rnn("GRU")),
    "gru_stacked": partial(make_network, config=rnn("GRU", **STACKED)),
    "gru_no_bias": partial(make_network, config=rnn("GRU", bias=False)),
    "gru_onnx": partial(make_network, config=rnn("GRU", linear_before_reset=True, **ONNX)),
    "gru_onnx_reset_first": partial(make_network, config=rnn("GRU", linear_before_reset=False, **ONNX)),
    "g2p_gru": lambda name: reference.make(FOLDER / name, SPELLER, spelled, module=lambda: Speller(SPELLER)),
    "ctc": make_ctc,
    "crf": make_crf,
}


def make(name):
    """Writes the folder of one variant, and checks it."""
    VARIANTS[name](name)
