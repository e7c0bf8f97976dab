"""Measure the orders of `generank rank` on the bundled loci, into generank/data/ranking.json.

`python scripts/ranking.py none` does it without a model, `python scripts/ranking.py NAME [--samples 3]` for a packaged model as it is. A model's
answers are kept in a file (--store), so that an interrupted call goes on."""
import argparse

from generank.baselines import measure
from generank.core import read_json, write_json
from generank.genes import BUNDLED, load_genes, table_fingerprint
from generank.profile import resolve
from generank.ranking import bundled_loci, gene_rows, merit_table, model_key, model_rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--splits", default="validation", help="splits that a model is asked about")
    parser.add_argument("--most", type=int, default=10_000, help="loci of each split at most")
    parser.add_argument("--store", default="runs/ranking/answers.jsonl")
    options = parser.parse_args()
    loci, splits = bundled_loci(), options.splits.split(",")
    if options.model != "none": loci = loci[loci.split.isin(splits)].groupby("split").head(options.most).reset_index(drop=True)
    config = resolve(options.profile) if options.model == "none" else resolve(options.profile, [f"model.name={options.model}"])
    rows, spent = gene_rows(loci, embed=True), {}
    if options.model != "none": rows, spent = model_rows(rows, config, None, options.store, options.samples)
    provenance = {"command": f"python scripts/ranking.py {options.model}" + (f" --profile {options.profile} --samples {options.samples}" if options.model != "none" else ""),
                  "loci": table_fingerprint(loci), "genes": table_fingerprint(load_genes()), "model": options.model, "spent": spent}
    file = BUNDLED/"ranking.json"
    kept = read_json(file) if file.is_file() else {}
    key = "none" if options.model == "none" else model_key(config, None)
    write_json(file, {**kept, key: {"methods": measure(rows, loci), "provenance": provenance}})
    print(merit_table(read_json(file)[key]).to_string())


if __name__ == "__main__":
    main()
