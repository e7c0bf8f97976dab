"""Draw the recorded result (results/figure.*) and write its sentence into README.md: `make figure`; --check writes nothing and fails where README.md differs."""
import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import pandas as pd  # noqa: E402

from generank import figures, report  # noqa: E402
from generank.robustness import trait_discrimination  # noqa: E402

MAIN, START, BINARY, BESIDE = "grpo-rank", "warm-start", "grpo-binary", ("random order", "gene prior", "nearest gene")


def pooled(profile:str)->dict:
    "Pooled comparisons of a profile's recorded runs by pair, the arm told other loci's traits included."
    runs = report.recorded_runs(report.Numbers(next((ROOT/"results"/profile).glob("seed-*"))))
    pairs = [(MAIN, START), (MAIN, BINARY), (MAIN, "zero-shot"), *((MAIN, b) for b in BESIDE), ("sft", START), (MAIN, "sft")]
    there = {a["name"] for f in runs for a in report.Numbers(f)("config.arms")} | set(BESIDE)
    pairs = [p for p in pairs if set(p) <= there]
    return {**report.pooled_arms(runs, pairs=pairs), "traits": report.other_traits(runs, MAIN), "runs": runs}


def counted(found:dict)->str: return figures.counted(len(found[MAIN, START]["seeds"]), "seed")


def over_seeds(row:dict)->dict:
    "A pooled difference with the interval that it is told with: of three seeds that over loci and seeds; two can't tell how seeds differ."
    return {**row, **{end: row[f"two_level_{end}"] for end in ("ci_low", "ci_high") if len(row["per_seed"]) > 2}}


def effect(found:dict)->str:
    "What GRPO did, over the warm start and over chance."
    m = over_seeds(found[MAIN, START]["metrics"]["mrr_over_chance"])
    seeds = [report.shown(s["difference"], "+.3f") for s in m["per_seed"]]
    each = f" over loci alone; by seed {' and '.join(seeds)}" if len(seeds) == 2 else ""
    did = {"better": "raised", "worse": "lowered"}.get(report.verdict(m), "did not detectably change")
    return (f"GRPO {did} MRR over chance from {report.shown(m['b'], '+.3f')} after the warm start to {report.shown(m['a'], '+.3f')} "
            f"(difference {report.shown(m['difference'], '+.3f')}, 95 % interval {report.interval(m['ci_low'], m['ci_high'], '.3f')}{each})")


def base(found:dict, name:str)->str: return report.shown(found[MAIN, name]["metrics"]["mrr_over_chance"]["b"], "+.3f")


def where(found:dict)->str:
    main = found[MAIN, START]
    return f"{main['n']} held-out loci in {main['n_clusters']} regions, {counted(found)}"


def discrimination(runs:dict)->dict|None:
    "Trait discrimination of the main arm over the recorded seeds that asked it, and how many: seeds average in each direction of a pair, regions cluster."
    asked = [(f/"probes"/MAIN/f"{p['name']}.parquet", c["seed"]) for f, c in runs.items() for p in c.get("perturbations") or []
             if (p["arm"], p["perturbation"]) == (MAIN, "both-traits")]
    if not asked: return None
    tables = [read_answers(file) for file, _ in asked]
    if len({frozenset(t.locus_id) for t in tables}) > 1: raise SystemExit("The recorded seeds asked different pairs of traits: they can't be pooled.")
    return {**trait_discrimination(pd.concat(tables)), "seeds": [seed for _, seed in asked]}


def read_answers(file:Path)->pd.DataFrame: return pd.read_parquet(file, columns=["locus_id", "region_id", "causal_gene", "candidates", "completion"])


def against_binary(found:dict)->str:
    "The reward 1/rank beside the reward for the first gene alone."
    m = over_seeds(found[MAIN, BINARY]["metrics"]["mrr_over_chance"])
    seeds = [report.shown(s["difference"], "+.3f") for s in m["per_seed"]]
    if len(seeds) < 3: return f"Against a binary reward (1 for the causal gene first, else 0), 1/rank gained {' and '.join(seeds)} in the {figures.counted(len(seeds), 'seed')} trained so far, too few to decide."
    verdict = {"better": "better than", "worse": "worse than"}.get(report.verdict(m), "not detectably different from")
    return f"The reward 1/rank was {verdict} a binary one (1 for the causal gene first, else 0; difference {report.shown(m['difference'], '+.3f')}, {report.interval(m['ci_low'], m['ci_high'], '.3f')})."


def knowing(found:dict)->str:
    "The model that knows genes, and whether it reads the trait."
    said = (f"**Qwen2.5-Coder-1.5B** ({where(found)}): {effect(found)}. The nearest gene scores {base(found, 'nearest gene')}, a prior over genes {base(found, 'gene prior')}.")
    if (MAIN, BINARY) in found: said = f"{said} {against_binary(found)}"
    if (p := discrimination(found["runs"])) is None: return said
    seeds = "" if len(p["seeds"]) == len(found[MAIN, START]["seeds"]) else f"; {figures.counted(len(p['seeds']), 'seed')}"
    return (f"{said} Asked one candidate list under two traits, it ranked the asked trait's gene above the other's in {100 * p['value']:.0f} % of {p['n_pairs']} pairs "
            f"({100 * p['ci_low']:.0f} to {100 * p['ci_high']:.0f}; 50 is chance{seeds}).")


def knowing_nothing(found:dict)->str:
    "The 135M model, which knows no genetics, in at most 60 words."
    sft = [found[p]["metrics"]["mrr_over_chance"] for p in (("sft", START), (MAIN, "sft"))]
    as_much = [report.verdict(r) for r in sft] == ["better", "no difference shown"]
    same = "the same within" in found["traits"]
    numbers = [report.Numbers(f) for f in found["runs"]]
    cut = {str(n("config.seed")) for n in numbers if MAIN in {a["name"] for a in n("config.arms")} and report.cut_off(n, MAIN)}
    over = f"Seed {', '.join(sorted(cut))} ran into the token limit." if cut else ""
    return (f"**SmolLM2-135M**, which knows no genetics ({where(found)}, earlier split): {effect(found)}. Untrained {base(found, 'zero-shot')}, nearest gene "
            f"{base(found, 'nearest gene')}. Supervised training {'gained as much' if as_much else 'differs'} (one seed). Naming other traits {'changed nothing' if same else 'is not shown to change nothing'}. "
            f"{over}")


MEASURE = ("MRR is the mean reciprocal rank of the causal gene; genes that an answer leaves out follow in random order. MRR over chance subtracts what a wholly random order earns. "
           "Each region has one vote. With three seeds, an interval includes the variation between loci and between seeds. In some seeds, answers were cut off at the token limit. Such a seed alone does not allow a fair comparison.")


def chart(found:dict)->figures.Chart:
    "Arms and baselines, pooled over the recorded seeds."
    def entry(name, kind, pair, side):
        pool, top = found[pair], [found[pair]["metrics"]["top_1"][f"{side}{end}"] for end in ("", "_ci_low", "_ci_high")]
        return {"name": name, "kind": kind, "n": pool["n"], "n_clusters": pool["n_clusters"], "top_k": {"1": dict(zip(("accuracy", "ci_low", "ci_high"), top))},
                **{f"mrr_over_chance{end}": pool["metrics"]["mrr_over_chance"][f"{side}{end}"] for end in ("", "_ci_low", "_ci_high")}}
    untrained = [entry("zero-shot", "arm", (MAIN, "zero-shot"), "b")] if (MAIN, "zero-shot") in found else []
    runs = [*untrained, entry(START, "arm", (MAIN, START), "b"), entry(MAIN, "arm", (MAIN, START), "a"), *(entry(b, "baseline", (MAIN, b), "b") for b in BESIDE)]
    drawn = figures.main_comparison(runs, ("mrr_over_chance", "top_1"), "figure")
    drawn.caption = f"Recorded, each region with one vote, {counted(found)}. {drawn.caption}"
    return drawn


def main()->int:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, and fail where README.md differs from results/")
    options = parser.parse_args()
    readme, found = ROOT/"README.md", pooled("desktop")
    said = "\n\n".join((MEASURE, knowing(found), knowing_nothing(pooled("laptop-long"))))
    text = re.sub(r"(<!-- recorded -->\n).*?(\n<!-- end -->)", lambda m: m[1] + said + m[2], readme.read_text(encoding="utf-8"), flags=re.S)
    if options.check: return int(text != readme.read_text(encoding="utf-8"))
    readme.write_text(text, encoding="utf-8")
    print(*figures.save_chart(chart(found), ROOT/"results").values(), sep="\n")
    return 0


if __name__ == "__main__": sys.exit(main())
