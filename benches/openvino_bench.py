#!/usr/bin/env python3
"""OpenVINO GenAI behind the arguments and the JSON of llama-bench, for compare.py.

    benches/compare.py --peer 'openvino=PATH/python benches/openvino_bench.py' MODEL.gguf

It runs in a Python that has openvino-genai (`pip install openvino-genai`). OpenVINO reads the GGUF itself and converts
it at every start. With a text instead of a number, `-p` continues that text, as llama-completion does. Every measured
prompt is new: the pipeline caches prefixes, and a prompt that it has seen costs next to nothing.
"""

import argparse
import json
from time import perf_counter

import numpy
import openvino
import openvino_genai

# Ordinary tokens in every vocabulary; below lie control tokens.
TOKENS = (1_000, 30_000)


class Model:
    def __init__(self, path, threads):
        self.pipeline = openvino_genai.LLMPipeline(path, "CPU", INFERENCE_NUM_THREADS=threads)
        self.random = numpy.random.default_rng()

    def generate(self, length, new):
        """Measures of a random prompt of `length` tokens and exactly `new` tokens after it, the likeliest ones."""
        ids = self.random.integers(*TOKENS, (1, length), dtype=numpy.int64)
        prompt = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(numpy.ones_like(ids)))
        config = openvino_genai.GenerationConfig(
            max_new_tokens=new, min_new_tokens=new, ignore_eos=True, do_sample=False
        )
        return self.pipeline.generate(prompt, config).perf_metrics

    def prompt_rate(self, length):
        start = perf_counter()
        self.generate(length, 1)
        return length / (perf_counter() - start)

    def generation_rate(self, tokens):
        # One token more than are timed: the first belongs to the prompt.
        return 1e3 / self.generate(4, tokens + 1).get_tpot().mean

    def complete(self, text, new):
        config = openvino_genai.GenerationConfig(max_new_tokens=new, do_sample=False, apply_chat_template=False)
        return self.pipeline.generate(text, config)


def measure(rate, size, reps):
    """An entry of the result: the speeds of `reps` runs after one that warms up."""
    rates = [rate(size) for _ in range(reps + 1)][1:]
    return {"avg_ts": sum(rates) / len(rates), "samples_ts": rates}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", required=True, metavar="MODEL.gguf")
    parser.add_argument("-p", default="512", metavar="TOKENS|TEXT", help="tokens of the prompt, or the prompt")
    parser.add_argument("-n", type=int, default=128, metavar="TOKENS", help="tokens to generate")
    parser.add_argument("-r", type=int, default=5, metavar="REPETITIONS")
    parser.add_argument("-t", type=int, default=0, metavar="THREADS", help="0 leaves the choice to OpenVINO")
    parser.add_argument("-o", choices=["json"], default="json")
    parser.add_argument("--temp", type=float, choices=[0], default=0, help="of a text; always the likeliest token")
    args = parser.parse_args()
    model = Model(args.m, args.t)
    if not args.p.isdecimal():
        print(model.complete(args.p, args.n))
        return
    prompt = int(args.p)
    results = []
    if prompt:
        results.append({"n_prompt": prompt, "n_gen": 0, **measure(model.prompt_rate, prompt, args.r)})
    if args.n:
        results.append({"n_prompt": 0, "n_gen": args.n, **measure(model.generation_rate, args.n, args.r)})
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
