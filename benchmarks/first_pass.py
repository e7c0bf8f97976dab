"""How often a process's first pass through a model differs from its second: python benchmarks/first_pass.py [--processes 240] [--model random-llama]

Each process is a fork of one that has imported torch and computed nothing; it loads a model and computes the same states twice, by its first layer,
which calls each elementwise function that the others do.
Compared are `load_model` as it is, which calls each elementwise function once before threads share it, and the same without that call:
there torch's wheel, with oneMKL 2024.2, now and then computes a thread's share of the first cosines with few correct digits
(https://github.com/pytorch/pytorch/issues/188792). The rate depends on the machine; on one without the race both are 0."""
import argparse, os, traceback

import torch
import transformers.models.llama.modeling_llama  # noqa: F401, so that no fork has to import it

from generank import models

TOKENS = 1000


def differs(settled:bool, model:str, threads:int)->bool:
    "Whether a new process's first states differ from its second."
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            torch.set_num_threads(threads)
            if not settled: models.settle_functions = lambda: None
            loaded, _ = models.load_model(model)
            x = torch.arange(TOKENS)[None] % 200
            body = loaded.eval().model
            body.layers = body.layers[:1]
            with torch.no_grad(): first, second = (body(input_ids=x).last_hidden_state for _ in range(2))
            os.write(write, b"0" if torch.equal(first, second) else b"1")
        except BaseException: traceback.print_exc()
        finally: os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer: said = answer.read()
    os.waitpid(pid, 0)
    if not said: raise RuntimeError("A process ended without an answer.")
    return said == b"1"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, default=240)
    parser.add_argument("--model", default="random-llama", help="a name or folder for `load_model`")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--settled-only", action="store_true", help="leave out the side without the call")
    args = parser.parse_args()
    sides = {True: "as it is", False: "without the call"}
    counts = dict.fromkeys(list(sides)[:1 if args.settled_only else 2], 0)
    for _ in range(args.processes):   # in turns, so that both meet the same load
        for settled in counts: counts[settled] += differs(settled, args.model, args.threads)
    for settled, count in counts.items(): print(f"load_model {sides[settled]}: {count} of {args.processes} first passes differ")


if __name__ == "__main__": main()
