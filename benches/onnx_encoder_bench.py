#!/usr/bin/env python3
"""ONNX Runtime on an encoder, with the tests and the lines of `argand bench --plain`.

    argand bench MODEL_DIR --plain --threads 2
    PATH/python benches/onnx_encoder_bench.py MODEL.onnx --threads 2

It runs in a Python that has onnxruntime and numpy, on any export of BERT's kin: of the inputs that the model asks for, ids are
ordinary tokens, the mask is all ones, types are zeros. Pooling and normalisation are timed too, as in Argand. Take turns with
Argand, and compare medians.
"""

import argparse
from statistics import median
from time import perf_counter

import numpy
import onnxruntime

# Ordinary tokens in the vocabulary of BERT.
TOKENS = (1_000, 30_000)


def session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def embed(model, ids):
    """Vectors of length 1 from the mean of the rows."""
    given = {"input_ids": ids, "attention_mask": numpy.ones_like(ids), "token_type_ids": numpy.zeros_like(ids)}
    states = model.run(None, {i.name: given[i.name] for i in model.get_inputs()})[0]
    vectors = states.mean(axis=1) if states.ndim == 3 else states
    return vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)


def rates(model, tokens, texts, reps):
    """Texts per second of `reps` runs after one that warms up."""
    ids = numpy.random.default_rng(0).integers(*TOKENS, (texts, tokens), dtype=numpy.int64)
    seconds = []
    for _ in range(reps + 1):
        start = perf_counter()
        embed(model, ids)
        seconds.append(perf_counter() - start)
    return [texts / s for s in seconds[1:]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL.onnx")
    parser.add_argument("--enc", default="128x32,16x1", metavar="TOKENSxTEXTS,...")
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0 leaves the choice to ONNX Runtime")
    args = parser.parse_args()
    model = session(args.model, args.threads)
    for test in args.enc.split(","):
        tokens, texts = map(int, test.split("x"))
        name = f"enc{tokens}" if texts == 1 else f"enc{test}"
        print(f"enc {median(rates(model, tokens, texts, args.reps)):.2f} {name}", flush=True)


if __name__ == "__main__":
    main()
