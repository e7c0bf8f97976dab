"""How often a process's first cosines differ from its second: python benchmarks/first_pass.py [--processes 240]

Each process is a fork of one that has imported torch and computed nothing; it computes the same cosines twice, shared by threads.
Compared are processes that first call `settle_functions`, as `load_model` does, and others: in those, torch's wheel, with oneMKL 2024.2, now and then
computes a thread's share of the first cosines with few correct digits (https://github.com/pytorch/pytorch/issues/188792).
The rate depends on the machine; on one without the race both are 0."""
import argparse, os, traceback

import torch

from generank.models import settle_functions


def differs(settled:bool, threads:int)->bool:
    "Whether a new process's first cosines differ from its second."
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            torch.set_num_threads(threads)
            if settled: settle_functions()
            x = torch.outer(torch.arange(1000.0), torch.arange(0.37, 32))
            os.write(write, b"0" if torch.equal(x.cos(), x.cos()) else b"1")
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
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--settled-only", action="store_true", help="leave out the side without the call")
    args = parser.parse_args()
    sides = {True: "after settle_functions", False: "without it"}
    counts = dict.fromkeys(list(sides)[:1 if args.settled_only else 2], 0)
    for _ in range(args.processes):   # in turns, so that both meet the same load
        for settled in counts: counts[settled] += differs(settled, args.threads)
    for settled, count in counts.items(): print(f"{sides[settled]}: {count} of {args.processes} first cosines differ")


if __name__ == "__main__": main()
