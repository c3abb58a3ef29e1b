"""Fixtures of transformers' models: random weights, the folder, and the check that it says what was meant."""

import copy

import torch
import transformers
from safetensors.torch import load_file

import fixture
from fixture import TESTS, lossless

# Norms of these hold their weight minus one.
PLUS_ONE = ("gemma2", "gemma3_text")
# Weights that make attention uneven and routing decided.
SHARP = ("q_proj", "k_proj", "qkv_proj", "router", "mlp.gate.weight", "q_a_proj", "q_b_proj", "kv_a_proj")
SHARP += ("query_key_value", "c_attn", "self.query", "self.key", "q_lin", "k_lin", "Wqkv", "attn.q.", "attn.k.", "dec_w_ih", "dec_w_hh", "dec_emb")
# Buffers that checkpoints hold.
BUFFERS = ("e_score_correction_bias", "running_mean", "running_var")


def initialise(model, random):
    """Random weights that keep activations near 1 and make attention clearly uneven and routing clearly decided."""
    plus_one = hasattr(model, "config") and model.config.model_type in PLUS_ONE
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}

    def value_of(name, weight):
        if weight.dim() == 0:
            return weight.data
        if name.endswith("running_var"):
            return 0.5 + torch.rand(weight.shape, generator=random)
        if name.endswith(("bias", "sinks", "running_mean")) or (weight.dim() == 1 and not name.endswith("weight")):
            return torch.randn(weight.shape, generator=random) * 0.3
        if weight.dim() == 1:
            return torch.randn(weight.shape, generator=random) * 0.3 + (0.0 if plus_one else 1.0)
        if id(weight) in embeddings:
            return torch.randn(weight.shape, generator=random) * (0.2 if plus_one else 0.5)
        fan_in = weight[0].numel() if weight.dim() == 4 else weight.shape[1]
        gain = 1.7 if any(part in name for part in SHARP) else 1.1
        return torch.randn(weight.shape, generator=random) * (gain / fan_in ** 0.5)

    buffers = [item for item in model.named_buffers() if item[0].endswith(BUFFERS)]
    for name, weight in [*model.named_parameters(), *buffers]:
        weight.data = lossless(value_of(name, weight))


def start(source, config, attention):
    """The model in f32 with slow and plain attention and experts, of a folder or, where there is none yet, random."""
    family = getattr(transformers, config["architectures"][0])
    plain = {"attn_implementation": attention, "experts_implementation": "eager", "dtype": torch.float32}
    if source:
        return family.from_pretrained(source, **plain).eval()
    return family._from_config(transformers.AutoConfig.for_model(**copy.deepcopy(config)), **plain).eval()


def make(folder, config, golden, attention="eager", convert=None, module=None):
    """Writes a folder, with weights that `convert(model, weights)` may change, reads it back and computes
    `golden(model, random)` again, in f32 and in f64: the first must be the same, the second close, which shows that no
    value hangs on rounding (an expert that was barely chosen would). `module()` makes a model of torch alone."""
    random = fixture.generator(folder.name)
    model = module() if module else start(None, config, attention)
    initialise(model, random)
    weights, state = model.state_dict() if module else fixture.hub_weights(model), random.get_state()
    if convert:
        weights = convert(model, weights)
    expected = golden(model, random)
    fixture.write(folder, config, weights, expected)
    again = module() if module else start(folder, config, attention)
    if module:
        again.load_state_dict(load_file(folder / "model.safetensors"))
    for model, tolerance in ((again, 1e-6), (copy.deepcopy(again).double(), 1e-4)):
        fixture.agree(golden(model, random.set_state(state)), expected, tolerance, folder.name)
