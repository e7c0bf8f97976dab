"""Draw the recorded result (results/figure.*) and write its sentence into README.md: `make figure`; --check writes nothing and fails where README.md differs."""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from generank import figures, report  # noqa: E402

MAIN, START, BESIDE = "grpo-rank", "warm-start", ("random order", "gene prior", "nearest gene")


def pooled(profile:str)->dict:
    "Pooled comparisons of a profile's recorded runs by pair, the arm told other loci's traits included."
    runs = report.recorded_runs(report.Numbers(next((ROOT/"results"/profile).glob("seed-*"))))
    pairs = [(MAIN, START), (MAIN, "zero-shot"), *((MAIN, b) for b in BESIDE), ("sft", START), (MAIN, "sft")]
    there = {a["name"] for f in runs for a in report.Numbers(f)("config.arms")} | set(BESIDE)
    pairs = [p for p in pairs if set(p) <= there]
    return {**report.pooled_arms(runs, pairs=pairs), "traits": report.other_traits(runs, MAIN), "runs": runs}


def counted(found:dict)->str: return figures.counted(len(found[MAIN, START]["seeds"]), "seed")


def effect(found:dict)->str:
    "What GRPO did, over the warm start and over chance."
    m = found[MAIN, START]["metrics"]["mrr_over_chance"]
    did = {"better": "raised", "worse": "lowered"}.get(report.verdict(m), "did not detectably change")
    return (f"GRPO {did} MRR over chance from {report.shown(m['b'], '+.3f')} after the warm start to {report.shown(m['a'], '+.3f')} "
            f"(difference {report.shown(m['difference'], '+.3f')}, 95 % interval {report.interval(m['ci_low'], m['ci_high'], '.3f')})")


def base(found:dict, name:str)->str: return report.shown(found[MAIN, name]["metrics"]["mrr_over_chance"]["b"], "+.3f")


def where(found:dict)->str:
    main = found[MAIN, START]
    return f"{main['n']} held-out loci in {main['n_clusters']} regions, {counted(found)}"


def knowing(found:dict)->str:
    "The model that knows genes, and whether it reads the trait."
    told = [r for f in found["runs"] for r in report.Numbers(f)("metrics.runs") if r["name"] == MAIN]
    pairs = [r["trait_discrimination"] for r in told if r.get("trait_discrimination")]
    said = (f"**Qwen2.5-Coder-1.5B** ({where(found)}): {effect(found)}. The nearest gene scores {base(found, 'nearest gene')}, a prior over genes {base(found, 'gene prior')}.")
    if len(pairs) != 1: return said
    p = pairs[0]
    return (f"{said} Asked one candidate list under two traits, it ranked the asked trait's gene above the other's in {100 * p['value']:.0f} % of {p['n_pairs']} pairs "
            f"({100 * p['ci_low']:.0f} to {100 * p['ci_high']:.0f}; 50 is chance).")


def knowing_nothing(found:dict)->str:
    "The 135M model, which knows no genetics."
    sft = [found[p]["metrics"]["mrr_over_chance"] for p in (("sft", START), (MAIN, "sft"))]
    as_much = [report.verdict(r) for r in sft] == ["better", "no difference shown"]
    same = "the same within" in found["traits"]
    numbers = [report.Numbers(f) for f in found["runs"]]
    cut = {str(n("config.seed")) for n in numbers if MAIN in {a["name"] for a in n("config.arms")} and report.cut_off(n, MAIN)}
    over = f"In seed {', '.join(sorted(cut))} answers after GRPO ran into the token limit, and the report marks that seed as no comparison by itself." if cut else ""
    return (f"**SmolLM2-135M**, which knows no genetics ({where(found)}, an earlier split): {effect(found)}. The untrained model scores {base(found, 'zero-shot')}, the nearest gene "
            f"{base(found, 'nearest gene')}. Supervised training {'gained as much' if as_much else 'differs'} (one seed). Other traits {'changed nothing' if same else 'are not shown to change nothing'}. "
            f"{over}")


MEASURE = "MRR over chance is the mean reciprocal rank of the causal gene, unlisted genes in random order, minus that of a random order; each region has one vote."


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
    readme, found = ROOT/"README.md", pooled("desktop")
    said = "\n\n".join((MEASURE, knowing(found), knowing_nothing(pooled("laptop-long"))))
    text = re.sub(r"(<!-- recorded -->\n).*?(\n<!-- end -->)", lambda m: m[1] + said + m[2], readme.read_text(encoding="utf-8"), flags=re.S)
    if "--check" in sys.argv: return int(text != readme.read_text(encoding="utf-8"))
    readme.write_text(text, encoding="utf-8")
    print(*figures.save_chart(chart(found), ROOT/"results").values(), sep="\n")
    return 0


if __name__ == "__main__": sys.exit(main())
