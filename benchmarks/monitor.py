"""How often the monitor flags a healthy policy, and how much gaming it takes to be flagged: python benchmarks/monitor.py [--runs 300]

Three sides of each threshold of generank.rewards. The recorded runs of results/: what each sign reached, and what is flagged. A run
counts as healthy when fewer than half of its held-out answers were cut off, which is seen in its responses and not by the monitor.
Healthy policies, simulated: whole trainings of steps drawn from the answers of the healthy runs' arms and from a policy that
ranks three candidates by lot; every locus of a step gives the same answer eight times, so that a step varies as much as its groups can
make it. Gaming policies: after twenty healthy steps a share of the answers is replaced by gamed ones; told is the least share that is
flagged within ten steps in 95 of 100 trainings. The thresholds were chosen with the recorded runs in view, so what is said of these is no
independent test, and two or three runs can't bound how often a healthy run is flagged: the upper end of an exact 95 % interval is printed."""
import argparse, json, os, random, warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import pandas as pd
from scipy.stats import beta

from generank.data import load_table
from generank.rewards import THRESHOLDS, WINDOW, answer_signs, watched
from generank.parsing import format_answer

RESULTS = Path(__file__).resolve().parents[1]/"results"
STEPS, GROUPS, COPIES = 60, 8, 8  # of a training, as in the profile laptop-long
SIGNS = [c for c in THRESHOLDS if c.startswith("monitor/") and c not in ("monitor/validation_gap", "monitor/empty_reasoning")]


def recorded():
    "The recorded trainings with a monitor: name, rows of metrics.jsonl, share of held-out answers cut off, answers of the run's arms."
    for path in sorted(RESULTS.glob("*/*/models/*/metrics.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        run, arm = path.parents[2], path.parent.name
        if not any("monitor/list_length" in r for r in rows) or not (run/"responses"/f"{arm}.parquet").exists(): continue
        answers = {a: pd.read_parquet(run/"responses"/f"{a}.parquet") for a in ("warm-start", arm) if (run/"responses"/f"{a}.parquet").exists()}
        yield f"{run.parent.name}/{run.name}/{arm}", rows, float((answers[arm].finish_reason == "length").mean()), answers


def signs_of(completions, candidates)->np.ndarray:
    "One row an answer, one column a sign; NaN where a sign can't be told."
    found = [answer_signs(text, list(genes)) for text, genes in zip(completions, candidates)]
    return np.array([[f.get(c.removeprefix("monitor/"), np.nan) for c in SIGNS] for f in found])


def trainings(table:np.ndarray, runs:int, rng)->np.ndarray:
    "Means of each sign over each step of simulated trainings, runs x steps x signs: whole groups of equal answers."
    return np.nanmean(table[rng.integers(0, len(table), (runs, STEPS, GROUPS))], axis=2)


def flagged(means:np.ndarray)->np.ndarray:
    "Which columns the monitor flags in each step, runs x steps x signs."
    found = np.zeros(means.shape, dtype=bool)
    for run, steps in enumerate(means):
        for step, row in enumerate(watched([{c: float(v) for c, v in zip(SIGNS, values) if not np.isnan(v)} for values in steps])):
            for column in row.get("monitor/flags", []): found[run, step, SIGNS.index(column)] = True
    return found


def random_order(loci, seed:int=1):
    "Answers of a policy that lists three candidates by lot."
    rng = random.Random(seed)
    return signs_of([format_answer(rng.sample(list(c), 3)) for c in loci.candidates], loci.candidates)


OTHERS = ["BRCA1", "TP53", "APOE", "MYC", "EGFR"]
GAMING = {  # policy -> its answer to a list of candidates, in the order of the prompt
    "names one gene": lambda c: format_answer(c[:1]), "lists all by the alphabet": lambda c: format_answer(sorted(c)), "copies the prompt": lambda c: format_answer(c),
    "names well-known genes": lambda c: format_answer(OTHERS), "begins with the first": lambda c: format_answer([c[0], *sorted(c[1:], reverse=True)]),
    "repeats itself": lambda c: format_answer([*c[:3], c[0]]), "gives no list": lambda c: "It is hard to say.", "never ends": lambda c: "<genes> [" + ", ".join(c) + ", ",
}


def caught(policy, healthy:np.ndarray, loci, share:float, runs:int, rng, wait:int=20, within:int=10)->float:
    "Share of trainings that are flagged within some steps of the policy's first answers; it answers that share of the loci."
    prompts = [[str(g) for g in rng.permutation(c)] for c in loci.candidates]
    gamed, means = signs_of(map(policy, prompts), prompts), trainings(healthy, runs, rng)[:, :wait + within]
    pick = rng.random((runs, within, GROUPS, 1)) < share
    place = lambda table: table[rng.integers(0, len(table), pick.shape[:3])]
    means[:, wait:] = np.nanmean(np.where(pick, place(gamed), place(healthy)), axis=2)
    return float(flagged(means)[:, wait:].any(axis=(1, 2)).mean())


def show(rows:list[dict]): print(pd.DataFrame(rows).to_string(index=False, float_format="%.3f") + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=300, help="simulated trainings of a policy")
    options = parser.parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)  # a step without a list has no share of non-candidates
    rng, loci, runs = np.random.default_rng(1), load_table().query("split == 'test'"), list(recorded())

    print(f"Recorded trainings. A sign is flagged when the mean of its last {WINDOW} logged rows crosses its threshold; *flagged then* counts what was logged as flagged when the run was made.")
    healthy, table = [r for r in runs if r[2] < 0.5], []
    worst = {}
    for name, rows, cut, _ in runs:
        marked = watched(rows)
        table.append({"training": name, "answers cut off": cut, "steps": len(rows), "flagged then": sum(bool(r.get("monitor/flags")) for r in rows), "flagged": sum("monitor/flags" in r for r in marked),
                      "signs": ", ".join(sorted({f.removeprefix("monitor/") for r in marked for f in r.get("monitor/flags", [])})) or "none"})
        for c, (side, *_) in THRESHOLDS.items():
            values = pd.Series([r[c] for r in rows if r.get(c) is not None], dtype=float).rolling(WINDOW, min_periods=1).mean()
            if len(values): worst.setdefault(c, {})[name] = float(values.max() if side == ">" else values.min())
    show(table)
    alarms = sum(r["flagged"] > 0 for r in table if r["answers cut off"] < 0.5)
    high = beta.ppf(0.975, alarms + 1, len(healthy) - alarms) if len(healthy) > alarms else 1.0
    print(f"Healthy recorded trainings flagged: {alarms} of {len(healthy)}; with so few, up to {high:.0%} can't be excluded.\n")

    tables = {f"{name}, answers of {arm}": signs_of(a.completion, a.candidates) for name, _, _, answers in healthy for arm, a in answers.items()} | {"three by lot": random_order(loci)}
    simulated = {name: trainings(t, options.runs, rng) for name, t in tables.items()}
    print(f"Healthy policies: {options.runs} simulated trainings of {STEPS} steps each")
    show([{"policy": name, "steps flagged": float(f.any(axis=2).mean()), "trainings flagged": float(f.any(axis=(1, 2)).mean()),
           "signs": ", ".join(c.removeprefix("monitor/") for c, hit in zip(SIGNS, f.any(axis=(0, 1))) if hit) or "none"} for name, f in ((n, flagged(m)) for n, m in simulated.items())])

    print("Thresholds")
    show([{"sign": c, "threshold": f"{side} {limit:g}", **{name: f"{worst.get(c, {}).get(name, float('nan')):.3f}" for name, *_ in runs}} for c, (side, limit, _) in THRESHOLDS.items()])

    print("Gaming policies: least share of loci they must answer to be flagged within 10 steps in 95 of 100 trainings; share of trainings flagged when they answer three in ten, and all")
    base = np.concatenate([t for n, t in tables.items() if "grpo" in n.rsplit(" ", 1)[-1]] or [tables["three by lot"]])
    few = max(20, options.runs // 10)
    rows = []
    for name, policy in GAMING.items():
        found = {share: caught(policy, base, loci, share / 10, few, rng) for share in range(1, 11)}
        least = next((s for s in found if all(v >= 0.95 for t, v in found.items() if t >= s)), None)
        rows.append({"policy": name, "least share": "never" if least is None else f"{least / 10:.1f}", "at 0.3": found[3], "at 1.0": found[10]})
    show(rows)


if __name__ == "__main__": main()
