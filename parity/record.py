"""Collects named activations of one forward run with hooks. What is recorded is a table: name to tap.

A tap is the path of a module below a root: `"mlp.up_proj"` its output, `"<self_attn.o_proj"` its first input, `"ln_1|ln_2"`
the one of the two that there is. Several names in one key (`"attn_q attn_k attn_v"`) share out the parts that the `split` of
the module's name makes, or what a router says. The name `.` is that of the root. Taps of modules that a model lacks are left
out, so that one table serves a family.
"""

import contextlib
import itertools
import sys

import torch

ROUTING = ("ffn_gate_inp", "ffn_moe_weights", "ffn_moe_topk")


class Recorder:
    """Holds the values of a run by name, each as [rows, width]; `channels_first` turns those of convolutions."""

    def __init__(self, channels_first=False):
        self.values, self.channels_first = {}, channels_first

    def put(self, name, value):
        """Keeps a value of [..., rows, width] or of [1, rows, heads, head_dim]."""
        value = value.detach().float()
        if value.dim() > 3:
            value = value.movedim(1, -1) if self.channels_first else value.flatten(2)
        self.values[name] = value.reshape(-1, value.shape[-1]).clone()

    def tap(self, root, table, prefix="", split=None):
        """Hooks all taps of a table below `root`. In the prefix `{}` stands for how often the module ran before."""
        for names, path in table.items():
            path, of_input = path.lstrip("<"), path.startswith("<")
            module = first(root, path)
            if module is None or isinstance(module, torch.nn.Identity):
                continue
            names = [(prefix + name).rstrip(".") for name in names.split()]
            parts = next((s for end, s in (split or {}).items() if first(root, path, end)), None)
            hook = self.hook(names, parts, of_input)
            (module.register_forward_pre_hook if of_input else module.register_forward_hook)(hook)

    def hook(self, names, split, of_input):
        """The hook that takes the values of some names."""
        calls = itertools.count()

        def take(_module, inputs, output=None):
            call = next(calls)
            self.take([name.format(call) for name in names], inputs[0] if of_input else output, split)

        return take

    def take(self, names, value, split):
        """Shares a value out among its names."""
        if len(names) == 1:
            value = value if torch.is_tensor(value) else value[0]
            value = split(value) if split else value
            self.put(names[0], value)
        elif names[0].endswith(ROUTING[0]):
            self.take_routing(names, *value)
        else:
            for name, part in zip(names, split(value), strict=True):
                self.put(name, part)

    def take_routing(self, names, logits, weights, experts):
        """Router logits, and the chosen experts with the weightiest first."""
        order = weights.argsort(dim=-1, descending=True, stable=True)
        for name, value in zip(names, (logits, weights.gather(1, order), experts.gather(1, order)), strict=True):
            self.put(name, value)


def first(root, paths, end=""):
    """The first module that there is of some paths, `a.b|c`, whose names end like that; or None."""
    for path in paths.split("|"):
        with contextlib.suppress(AttributeError):
            module = root.get_submodule(path)
            return module if path.endswith(end) else None
    return None


def replace(modeling, function, wrapper):
    """Wraps a function of a modeling module: `wrapper(original, *args, **kwargs)`, each time anew."""
    original = getattr(getattr(modeling, function), "original", getattr(modeling, function))

    def wrapped(*args, **kwargs):
        return wrapper(original, *args, **kwargs)

    wrapped.original = original
    setattr(modeling, function, wrapped)


def record_rope(recorder, model):
    """Records the query and key that reach eager attention: [1, heads, tokens, head_dim], after RoPE."""

    def attention(original, module, query, key, *args, **kwargs):
        if getattr(module, "use_rope", True):
            recorder.put(f"layers.{module.layer_idx}.attn_q_rope", query.transpose(1, 2))
            recorder.put(f"layers.{module.layer_idx}.attn_k_rope", key.transpose(1, 2))
        return original(module, query, key, *args, **kwargs)

    replace(sys.modules[type(model).__module__], "eager_attention_forward", attention)


def run(model, **inputs):
    """One forward run without gradients."""
    with torch.inference_mode():
        return model(**inputs)
