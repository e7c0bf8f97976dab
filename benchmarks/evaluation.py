"""Time and memory of an evaluation: python benchmarks/evaluation.py [--draws N] [--sizes N,N] [--save]

First five files of the first published run's layout, 273 rows each, made from the committed table of its ranks.
`evaluate` scores them, gives every interval and compares all ten pairs. Against it stands the bootstrap as one
writes it first, row by row in Python; a tenth of its draws are measured, and their time is multiplied by ten. Times
are processor seconds after import; of `evaluate` the best of three, with nothing remembered between them. Then one
file of a run's own layout, of growing size, each in a process of its own: one response a locus, twelve candidates,
two loci a region, 10,000 draws."""
import argparse, os, platform, random, subprocess, sys, tempfile, time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"): os.environ.setdefault(name, "1")
import numpy as np
import pandas as pd

from _record import peak, save
from generank.evaluation import evaluate
from generank.genes import BUNDLED
from generank.prompts import format_answer
from generank.scoring import score_responses
from generank.statistics import _same_counts, bootstrap_means

SECONDS, TIMES, LONG, GIGABYTES = 3, 50, 60, 4   # the targets


def first_run_files(folder)->list[Path]:
    "Five files of the first run's layout with its ranks, lengths and clusters; symbols are invented."
    table, paths = pd.read_csv(BUNDLED/"published.csv"), []
    for run in (c.removesuffix("_rank") for c in table if c.endswith("_rank")):
        rows = []
        columns = ["locus", "gene", *(f"{run}_{c}" for c in ("rank", "listed", "untagged"))]
        for locus, gene, rank, listed, untagged in table[columns].itertuples(index=False):
            genes = [f"X{locus}A{i}" for i in range(max(listed, rank, 1))]
            if rank: genes[rank - 1] = f"G{gene}"
            why = f"Locus {locus}: because of what the genes do. " * 30
            text = ", ".join(genes) if untagged else format_answer(genes, why)
            rows.append({"": locus, "reasoning": "", "genes": "", "raw_response": text, "true_answer": f"G{gene}"})
        paths.append(Path(folder)/f"{run}.csv")
        pd.DataFrame(rows).to_csv(paths[-1], index=False)
    return paths


def per_row(values, clusters, draws:int, seed:int=1)->list[float]:
    "Whole-cluster bootstrap means, one row after another."
    rng, groups = random.Random(seed), {}
    for value, cluster in zip(values, clusters): groups.setdefault(cluster, []).append(value)
    names, means = list(groups), []
    for _ in range(draws):
        total = count = 0
        for name in rng.choices(names, k=len(names)):
            for value in groups[name]: total, count = total + value, count + 1
        means.append(total / count)
    return means


def five_files(draws:int)->tuple[bool, list]:
    "Time `evaluate` on five files, and the plain bootstrap of the same statistics: (were the targets reached, rows)."
    with tempfile.TemporaryDirectory() as d:
        files = first_run_files(d)
        times = []
        for _ in range(3):
            _same_counts.cache_clear()
            began = time.process_time()
            result = evaluate([str(f) for f in files], draws=draws)
            times.append(time.process_time() - began)
        ours = min(times)
        metrics = ["mrr", *(f"top_{k}" for k in (1, 3, 5, 7))]
        scores = [score_responses(f) for f in files]
    pairs = [(a, b) for i, a in enumerate(scores) for b in scores[i + 1:]]
    columns = [s[m].tolist() for s in scores for m in metrics]
    columns += [(a[m] - b[m]).tolist() for a, b in pairs for m in metrics]
    clusters = scores[0].cluster.tolist()
    began = time.process_time()
    means = [per_row(c, clusters, draws // 10) for c in columns]
    plain = 10 * (time.process_time() - began)
    _same_counts.cache_clear()
    began = time.process_time()
    fast = bootstrap_means(np.array(columns).T, clusters, draws)
    core = time.process_time() - began
    apart = np.abs(fast.mean(axis=0) - [np.mean(m) for m in means]) / fast.std(axis=0) * (draws // 10)**0.5
    assert apart.max() < 5, "the two bootstraps disagree"
    print(f"Five files of {result['runs'][0]['n']} rows, {draws:,} draws, {len(columns)} statistics: "
          f"evaluate {ours:.2f} s, its bootstrap of them {core:.3f} s, per-row Python bootstrap {plain:.0f} s "
          f"(from {draws // 10:,} draws): "
          f"{plain / ours:.0f} times faster in all, {plain / core:.0f} times in the bootstrap alone")
    rows = [["Five files of 273 rows, all", f"{ours:.2f} s", ""],
            [f"Their {len(columns)} statistics, {draws:,} draws", f"{core:.3f} s", ""],
            ["The same, row by row in Python", f"{plain:.0f} s", ""]]
    return ours < SECONDS and plain / ours >= TIMES, rows


def big_file(path, n:int):
    "A file of n responses of a run's own layout."
    rng = np.random.default_rng(n)
    genes = np.array([f"GENE{i}" for i in range(20_000)])
    with_causal = rng.random(n) < 0.5
    rows = []
    for i in range(n):
        candidates = genes[rng.integers(0, len(genes) - 12) + np.arange(12)]
        listed = candidates[rng.permutation(12)[:5]] if with_causal[i] else candidates[1:6]
        rows.append(dict(locus_id=f"L{i}", region_id=f"R{i // 2}", trait="a trait", candidates=list(candidates),
                         causal_gene=candidates[0], sample=0, completion=format_answer(list(listed)),
                         finish_reason="stop", n_tokens=25))
    pd.DataFrame(rows).to_parquet(path)


def measure(path):
    "Time one evaluation in this process, and its peak of memory."
    began = time.process_time()
    result = evaluate(path)
    print(result["runs"][0]["n"], time.process_time() - began, peak())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--save", action="store_true", help="keep what was measured in results/speed/")
    for hidden in ("--make", "--measure"): parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make: return big_file(options.make, int(options.sizes))
    if options.measure: return measure(options.measure)
    print(f"{platform.machine()}, Python {platform.python_version()}, one thread")
    (held, rows), last = five_files(options.draws), None
    for n in map(int, filter(None, options.sizes.split(","))):
        with tempfile.TemporaryDirectory() as d:
            path = f"{d}/answers.parquet"
            subprocess.run([sys.executable, __file__, "--make", path, "--sizes", str(n)], check=True)
            measured = [sys.executable, __file__, "--measure", path]
            printed = subprocess.run(measured, check=True, capture_output=True, text=True).stdout.split()
        seconds, gigabytes = float(printed[1]), float(printed[2])
        grown = f", {seconds / last[1]:.1f} times the time for {n / last[0]:.0f} times as many" if last else ""
        print(f"{n:>9,} responses: {seconds:6.1f} s, {1e6 * seconds / n:5.0f} µs each, peak {gigabytes:.2f} GB{grown}")
        rows.append([f"One file of {n:,} responses", f"{seconds:.1f} s", f"{gigabytes:.2f} GB"])
        held, last = held and seconds < LONG and gigabytes < GIGABYTES, (n, seconds)
    note = ("Scores, intervals and paired tests in processor seconds on one thread, after import; of the five files "
            "the best of three. Row by row, a tenth of the draws was measured.")
    if options.save: print(save("evaluation", note, ["What", "Time", "Most memory"], rows))
    print(f"Targets: {SECONDS} s and {TIMES} times for the five files; {LONG} s and {GIGABYTES} GB for each size. "
          + ("Reached." if held else "Missed."))


if __name__ == "__main__": main()
