"""tiny.py [FIXTURE ...]: writes tiny random checkpoints and the activations that transformers and torch compute with them.

Each folder holds config.json, model.safetensors and golden.safetensors, and is read back and computed again to check it.
Without arguments all are made, which takes some minutes. See README.md for the names in the golden files.
"""

import sys

import torch

import decoders
import encoders
import images
import networks
import recurrent
import seeing
import sentences
import sequences
import vision

KINDS = (decoders, encoders, sentences, sequences, vision, seeing, images, networks, recurrent)


if __name__ == "__main__":
    torch.set_num_threads(1)
    makers = {name: kind.make for kind in KINDS for name in kind.VARIANTS}
    for wanted in sys.argv[1:] or makers:
        makers[wanted](wanted)
