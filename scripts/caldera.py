"""Make generank/data/caldera.parquet, an outside test set: `python scripts/caldera.py ExWAS_benchmark.tsv`; without a file it is fetched.

CALDERA's ExWAS benchmark (GitHub kheilbron/caldera, MIT) lists the genes around 141 loci of nine traits, and those with an exome-wide
burden association. Which assembly its lead variants are on is not written there. It is found out here: the distances that the file gives
are compared with those to the genes of Ensembl 110, with the positions as they are (GRCh38) and lifted as if they were GRCh37."""
import argparse, sys, tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np
import pandas as pd

from generank.core import sha256_json, write_json
from generank.data import loci_card
from generank.genes import BUNDLED, lift_position, load_genes, of_biotypes, write_parquet
from generank.readers import near
from generank.sources import LOCUS_COLUMNS, MORE_COLUMNS, download, read_loci, region_ids, trait_family

URL = "https://raw.githubusercontent.com/kheilbron/caldera/5461054ebecfa88552aed714f249f132a3d9e8f0/data/ExWAS_benchmark.tsv"
SHA256 = "1741b7aae407025f1117d8792d87949d704d5de54f198ae32e6f6a3ab94880e8"
TRAITS = {"calcium": "calcium measurement", "dbillirubin": "direct bilirubin measurement", "ebmd": "heel bone mineral density", "height": "body height",
          "ldl": "low density lipoprotein cholesterol measurement", "lowtsh": "low thyroid stimulating hormone", "rbc": "red blood cell count",
          "t2d": "type II diabetes mellitus", "tg": "triglyceride measurement"}


def agreement(rows, genes, column):
    "Share of the file's distances that are within 2 kb of those to Ensembl's genes from the positions in `column`, and how many were compared."
    there = rows.join(genes, on="ensg").dropna(subset=["start", column])
    at = there[column]
    found = np.where(at.between(there.start, there.end), 0, np.minimum((at - there.start).abs(), (at - there.end).abs()))
    return {"share_within_2kb": round(float((np.abs(found - there.distance) < 2000).mean()), 3), "genes": len(there)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", help="a copy of the file; fetched where not given")
    options, out = parser.parse_args(), BUNDLED/"caldera.parquet"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(options.file) if options.file else download(URL, f"{folder}/caldera.tsv", SHA256)
        download(path.resolve().as_uri(), f"{folder}/checked.tsv", SHA256)   # the pinned file, or an error
        rows = pd.read_csv(path, sep="\t", dtype={"symbol": str})
    rows[["chrom", "pos"]] = rows.filename.str.split("_", expand=True)[[0, 1]]
    rows["pos"] = rows.pos.astype("int64")
    variants = rows.drop_duplicates("filename")[["filename", "chrom", "pos"]].reset_index(drop=True)
    lifted = {f: lift_position(c, p) for f, c, p in zip(variants.filename, variants.chrom, variants.pos)}
    rows["lifted"] = rows.filename.map({f: place[1] for f, place in lifted.items() if place})
    genes = load_genes().drop_duplicates("ensembl_id").set_index("ensembl_id")
    build = {"as GRCh38": agreement(rows, genes[["start", "end"]], "pos"), "lifted from GRCh37": agreement(rows, genes[["start", "end"]], "lifted")}
    print(build)
    if build["as GRCh38"]["share_within_2kb"] < 0.7 or build["lifted from GRCh37"]["share_within_2kb"] > 0.1: raise SystemExit("The assembly is not clear.")
    labelled = rows[rows.TP == 1].assign(gene=lambda t: t.ensg.map(genes.symbol).fillna(t.symbol)).groupby(["phenotype", "filename", "chrom", "pos"]).gene.agg(sorted).reset_index()
    loci = near(labelled, of_biotypes(load_genes(), ("protein_coding",)))
    loci["causal_genes"] = [sorted(set(g) & set(c)) for g, c in zip(loci.gene, loci.candidates)]
    steps = {"loci of the file": len(loci), "no labelled gene within 500,000 bp": int((loci.causal_genes.map(len) == 0).sum())}
    loci = loci[loci.causal_genes.map(len) > 0]
    steps["not 5 to 25 candidates"] = int((~loci.candidates.map(len).between(5, 25)).sum())
    loci = loci[loci.candidates.map(len).between(5, 25)]
    trained = read_loci()
    seen = set(trained.candidates[trained.split != "test"].explode())
    loci = loci.assign(trait=loci.phenotype.map(TRAITS), causal_gene=loci.causal_genes.str[0], rsid=None, evidence_class="burden", confidence=None, source="caldera_exwas",
                       pmid=None, split="test", part=["shared" if seen & set(c) else "apart" for c in loci.candidates], region_id=region_ids(loci))
    loci["locus_id"] = [f"chr{c}_{p}_{sha256_json([t, g])[:6]}" for c, p, t, g in zip(loci.chrom, loci.pos, loci.trait, loci.causal_gene)]
    loci["trait_family"] = loci.trait.map(trait_family)
    loci["blood_trait"] = loci.trait_family == "blood cells"
    loci = loci.sort_values(["chrom", "pos", "trait"], ignore_index=True)[[*LOCUS_COLUMNS, "split", *MORE_COLUMNS]]
    steps["kept"] = len(loci)
    write_parquet(loci, out)
    write_json(out.with_suffix(".json"), loci_card(
        loci, title="CALDERA's ExWAS benchmark, an outside test set", build=build, steps=steps, parts=loci.part.value_counts().to_dict(),
        rules={"part": "shared: a candidate stands in the bundled train or validation part; apart: none does", "candidates": "as in loci.parquet"},
        attribution=[{"what": "lead variants, traits, genes with an exome-wide burden association", "licence": "MIT", "by": "CALDERA (GitHub kheilbron/caldera)",
                      "url": URL, "sha256": SHA256}]))
    print(steps, loci.part.value_counts().to_dict(), loci.groupby("trait").size().to_dict(), "several labelled:", int(loci.causal_genes.map(len).gt(1).sum()))


if __name__ == "__main__": main()
