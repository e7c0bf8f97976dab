"""Whether a sweep gives the same results however many of its runs work side by side, and what each way takes: python benchmarks/sweep.py [--jobs 1 2] [--keep FOLDER]

`generank run --profile tiny` for three seeds and two rewards, once for each number of jobs. Compared are sweep.csv without its minutes, and byte for byte each
run's metrics, comparisons, answers, probes, adapters and the tables under its figures. Told are the seconds on the clock and the most memory that all processes held at once
(what they share counted once; Linux only)."""
import argparse, os, subprocess, sys, tempfile, threading, time
from pathlib import Path

import pandas as pd
import psutil

FILES = ("evaluation/metrics.json", "evaluation/comparisons.json", "evaluation/robustness.json", "evaluation/figures/*.csv", "responses/*.parquet", "probes/*/*.parquet", "models/*/*.safetensors")


def memory(process)->float:
    "GiB that a process and all below it hold."
    total = 0
    for p in (process, *process.children(recursive=True)):
        try: total += p.memory_full_info().pss
        except (psutil.Error, AttributeError): pass
    return total / 2**30


def swept(folder:Path, jobs:int, options)->tuple[float, float]:
    "Run the sweep; its seconds and its peak in GiB."
    command = [str(Path(sys.executable).with_name("generank")), "run", "--profile", options.profile, "--out", str(folder), "--jobs", str(jobs)]
    for axis in options.sweep: command += ["--sweep", axis]
    began, peak = time.perf_counter(), [0.0]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    def watch():
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try: peak[0] = max(peak[0], memory(watched))
            except psutil.Error: pass
            time.sleep(1)
    threading.Thread(target=watch, daemon=True).start()
    said = process.communicate()[1]
    if process.returncode: sys.exit(f"{' '.join(command)} failed:\n{said}")
    return time.perf_counter() - began, peak[0]


def differing(a:Path, b:Path)->list[str]:
    "The files of two sweeps that are not the same."
    table = lambda folder: pd.read_csv(folder/"sweep.csv").drop(columns="train_minutes")
    named = lambda folder: {p.relative_to(folder).as_posix(): p.read_bytes() for pattern in FILES for p in folder.glob(f"*/{pattern}")}
    one, two = named(a), named(b)
    return ["sweep.csv"] * (not table(a).equals(table(b))) + sorted(name for name in one | two if one.get(name) != two.get(name))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2], help="runs side by side, once each")
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--sweep", nargs="+", default=["seed=1,2,3", "arms.grpo-rank.reward=rank,binary"])
    parser.add_argument("--keep", type=Path, help="a new folder for the sweeps; else they are removed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place, wrong = options.keep or Path(scratch), []
        for jobs in options.jobs:
            seconds, peak = swept(place/f"jobs-{jobs}", jobs, options)
            print(f"--jobs {jobs}: {seconds:.0f} s, at most {peak:.2f} GiB", flush=True)
        first, *others = (place/f"jobs-{jobs}" for jobs in options.jobs)
        for other in others:
            wrong += (found := differing(first, other))
            print(f"{other.name} and {first.name}: {len(list(first.glob('*/evaluation/metrics.json')))} runs, " + (f"different: {', '.join(found)}" if found else "the same to the byte"))
    return int(bool(wrong))


if __name__ == "__main__": sys.exit(main())
