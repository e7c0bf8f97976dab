"""How often the 95 % intervals hold the truth: python benchmarks/intervals.py [--simulations N]

Each simulated experiment draws as many regions as a split holds out, with their numbers of loci, from 4,000 regions whose mean is known: levels (MRR over
chance) or paired differences (most loci unchanged). Loci of a region are alike. In one half of the rows one region in a hundred carries much of the effect."""
import argparse, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from generank.genes import BUNDLED  # noqa: E402
from generank.scoring import expected_gain  # noqa: E402
from generank.statistics import bootstrap_means, means_by_cluster, percentile_interval  # noqa: E402

V1 = np.array([11, 10, 8, 5, 5, 4, 4, *[3] * 8, *[2] * 20, *[1] * 64])   # loci in the regions of the first split's test


def held_out()->dict:
    "Split -> the numbers of loci in its held-out regions."
    loci = pd.read_parquet(BUNDLED/"loci.parquet")
    return {"v1": V1, "own": loci[loci.split == "test"].region_id.value_counts().to_numpy()}


def population(kind:str, sizes, dominant:bool, rng, regions:int=4000)->tuple[list, np.ndarray]:
    "Values of the loci of each region, and whether it is one of those that carry the effect."
    size, heavy = rng.choice(sizes, regions), np.zeros(regions, bool)
    if dominant: heavy[::len(sizes)] = True
    size[heavy] = min(8, max(sizes))
    def one(n, carries):
        "A region of n loci: each has its own value, or that of the region."
        if kind == "level":
            candidates = rng.integers(5, 26, n)
            ranks = np.ones(n, int) if carries else 1 + (rng.random(n) * candidates).astype(int)
            values = 1 / ranks - expected_gain("mrr", np.ones(n, int), candidates)
        else: values = np.full(n, 0.9) if carries else np.where(rng.random(n) < 0.35, rng.choice([-0.5, -0.2, 0.2, 0.5, 0.8], n), 0) / (1 + dominant)
        return np.where(rng.random(n) < 0.5, values[0], values)
    return [one(n, h) for n, h in zip(size, heavy)], heavy


def simulate(kind:str, sizes, dominant:bool, simulations:int=400, draws:int=1000, seed:int=1)->dict:
    "Shares of simulated experiments whose interval holds the true mean of regions, and the true mean of loci; mean widths."
    rng, n, rows = np.random.default_rng(seed), len(sizes), []
    values, _ = population(kind, sizes, dominant, rng)
    truths = np.mean([v.mean() for v in values]), np.concatenate(values).mean()
    for _ in range(simulations):
        picked = [values[i] for i in rng.integers(0, len(values), n)]
        loci, regions = np.concatenate(picked), np.repeat(np.arange(n), list(map(len, picked)))
        for (x, of), truth in zip(((means_by_cluster(loci, regions), np.arange(n)), (loci, regions)), truths):
            low, high = percentile_interval(bootstrap_means(x, of, draws, 1)[:, 0], n)
            rows += [low <= truth <= high, high - low]
    region, width, locus, wider = np.reshape(rows, (simulations, 4)).mean(0)
    return {"regions": n, "mean of regions": region, "mean of loci": locus, "width, regions": width, "width, loci": wider}


def table(simulations:int=400, draws:int=1000)->pd.DataFrame:
    "The coverage of every kind, split and dominance."
    cases = {(split, kind, "one region" if d else "none"): simulate(kind, sizes, d, simulations, draws)
             for split, sizes in held_out().items() for kind in ("difference", "level") for d in (False, True)}
    return pd.DataFrame(cases).T.rename_axis(["split", "what", "dominant"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--simulations", type=int, default=2000)
    found = table(parser.parse_args().simulations)
    print(found.round(3).to_string())
    outside = ~found["mean of regions"].between(0.93, 0.97)
    sys.exit(f"Outside 0.93 to 0.97: {found.index[outside].tolist()}" if outside.any() else 0)
