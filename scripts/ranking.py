"""Measure the orders of `generank rank` on loci whose causal gene is known.

`python scripts/ranking.py none` does it without a model, `python scripts/ranking.py NAME` for a packaged model as it is, both on the bundled loci and into
generank/data/ranking.json. `python scripts/ranking.py runs/NAME/models/ARM` measures a run's arm on the run's own validation loci, into runs/NAME/ranking.json,
where `generank rank --adapter runs/NAME/models/ARM` finds it. After the first locus the time for the others is said. A model's answers are kept (--store): after
Ctrl-C the same command goes on, and nothing is measured until every locus is answered."""
import argparse
import time
from pathlib import Path

import pandas as pd

from generank.baselines import measure
from generank.core import read_json, write_json
from generank.data import limit_loci
from generank.genes import BUNDLED, load_genes, table_fingerprint
from generank.models import run_of
from generank.profile import resolve
from generank.ranking import bundled_loci, gene_rows, merit_table, model_key, model_rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--splits", default="validation", help="splits that a model is asked about")
    parser.add_argument("--most", type=int, default=10_000, help="loci of each split at most")
    parser.add_argument("--store", help="file of the answers; runs/ranking/answers.jsonl")
    parser.add_argument("--out", type=Path, help="file to write instead of those named above, as for a trial")
    options = parser.parse_args()
    alone, run = options.model == "none", run_of(options.model) if Path(options.model).is_dir() else None
    known = pd.read_parquet(run/"data"/"loci.parquet") if run else bundled_loci()
    splits = options.splits.split(",")
    asked = known if alone else limit_loci(known[known.split.isin(splits)], dict.fromkeys(splits, options.most)).reset_index(drop=True)
    if len(asked) < 20: raise SystemExit(f"{len(asked)} loci are too few to measure on: 20 are needed.")
    config = resolve(str(run/"config.yaml") if run else options.profile, [] if alone or run else [f"model.name={options.model}"])
    rows, spent, adapter, start = gene_rows(asked, known[known.split == "train"], embed=True), {}, options.model if run else None, time.monotonic()
    file, store = options.out or (run or BUNDLED)/"ranking.json", options.store or Path("runs")/"ranking"/"answers.jsonl"
    if not alone: rows, spent = model_rows(rows, config, adapter, store, options.samples)
    if spent.get("stopped"): raise SystemExit(f"Stopped at {rows.locus.nunique()} of {len(asked)} loci; the same command goes on.")
    methods = measure(rows, asked, ("validation",) if run or not alone else ("train", "validation"))
    provenance = {"model": options.model, "samples": options.samples, "asked": options.splits, "loci": table_fingerprint(asked), "genes": table_fingerprint(load_genes()),
                  "seconds": round(time.monotonic() - start), "spent": spent}
    kept = read_json(file) if file.is_file() else {}
    key = "none" if alone else model_key(config, adapter, options.samples)
    write_json(file, {**kept, key: {"methods": methods, "provenance": {k: v for k, v in provenance.items() if not (alone and k in ("seconds", "samples", "asked"))}}})
    print(merit_table(read_json(file)[key]).to_string())


if __name__ == "__main__":
    main()
