"""Draw the recorded result (results/figure.*) and write its sentence into README.md: `make figure`; --check writes nothing and fails where README.md differs."""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from generank import figures, report  # noqa: E402

MAIN, START, BESIDE = "grpo-rank", "warm-start", ("random order", "gene prior", "nearest gene")


def pooled()->dict:
    "Pooled comparisons of the recorded runs by pair, the arm told other loci's traits included."
    numbers = report.Numbers(ROOT/"results"/"laptop-long"/"seed-1")
    runs = report.recorded_runs(numbers)
    pairs = [(MAIN, START), (MAIN, "zero-shot"), *((MAIN, b) for b in BESIDE), ("sft", START), (MAIN, "sft")]
    return {**report.pooled_arms(runs, pairs=pairs), "traits": report.other_traits(runs, MAIN)}


def sentence(found:dict)->str:
    "The result in at most 60 words: over the warm start, which is below chance, and over chance."
    main, base = found[MAIN, START], lambda b: report.shown(found[MAIN, b]["metrics"]["mrr_over_chance"]["b"], "+.3f")
    m, sft = main["metrics"]["mrr_over_chance"], [found[p]["metrics"]["mrr_over_chance"] for p in (("sft", START), (MAIN, "sft"))]
    did = {"better": "raised", "worse": "lowered"}.get(report.verdict(m), "did not detectably change")
    as_much = [report.verdict(r) for r in sft] == ["better", "no difference shown"]
    same = "the same within" in found["traits"]
    return (f"On {main['n']} held-out loci ({main['n_clusters']} regions, one vote each; {len(main['seeds'])} seeds) GRPO {did} MRR over random order from "
            f"{report.shown(m['b'], '+.3f')}, the format warm start's, to {report.shown(m['a'], '+.3f')} ({report.shown(m['difference'], '+.3f')}, 95 % interval "
            f"{report.interval(m['ci_low'], m['ci_high'], '.3f')}); the untrained model scores {base('zero-shot')}, the nearest gene {base('nearest gene')}; "
            f"supervised training {'gained as much' if as_much else 'differs'} (one seed); other traits {'changed nothing' if same else 'are not shown to change nothing'}.")


def chart(found:dict)->figures.Chart:
    "Arms and baselines, pooled over the recorded seeds."
    def entry(name, kind, pair, side):
        pool, top = found[pair], [found[pair]["metrics"]["top_1"][f"{side}{end}"] for end in ("", "_ci_low", "_ci_high")]
        return {"name": name, "kind": kind, "n": pool["n"], "n_clusters": pool["n_clusters"], "top_k": {"1": dict(zip(("accuracy", "ci_low", "ci_high"), top))},
                **{f"mrr_over_chance{end}": pool["metrics"]["mrr_over_chance"][f"{side}{end}"] for end in ("", "_ci_low", "_ci_high")}}
    runs = [entry("zero-shot", "arm", (MAIN, "zero-shot"), "b"), entry(START, "arm", (MAIN, START), "b"), entry(MAIN, "arm", (MAIN, START), "a"), *(entry(b, "baseline", (MAIN, b), "b") for b in BESIDE)]
    drawn = figures.main_comparison(runs, ("mrr_over_chance", "top_1"), "figure")
    drawn.caption = f"Recorded, each region with one vote, mean over {len(found[MAIN, START]['seeds'])} seeds. {drawn.caption}"
    return drawn


def main()->int:
    found, readme = pooled(), ROOT/"README.md"
    text = re.sub(r"(<!-- recorded -->\n).*?(\n<!-- end -->)", lambda m: m[1] + sentence(found) + m[2], readme.read_text(encoding="utf-8"), flags=re.S)
    if "--check" in sys.argv: return int(text != readme.read_text(encoding="utf-8"))
    readme.write_text(text, encoding="utf-8")
    print(*figures.save_chart(chart(found), ROOT/"results").values(), sep="\n")
    return 0


if __name__ == "__main__": sys.exit(main())
