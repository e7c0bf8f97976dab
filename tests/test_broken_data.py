"""Broken inputs, each of its own kind: one sentence that names the file, the line where there is one, and the remedy.

Every refusal of the modules of the data has its case here; tests/test_guards.py takes each refusal out and sees its case fail."""
import gzip
import re
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from generank.core import UserError
from generank.data import build_bundled, check_loci, fold_split, load_table, run_stage, split_loci
from generank.figures import dataset_chart
from generank.genes import candidate_genes, load_genes, read_annotation
from generank.sources import GOLD_COLUMNS, build_loci, download, read_loci, read_table
from generank.export import push
from generank.readers import read_loci as read_any
from generank.tables import read_rows

HEAD = "trait,candidates,causal_gene"
GOOD = f'{HEAD}\nasthma,"IL4,IL13",IL4\n'
GENE = 'chr1\tx\tgene\t1\t9\t.\t+\t.\tgene_id "ENSG1"; gene_name "A";\n'
PAIR = {"a.tsv": "description\tsymbol_gene_string\nasthma\t{IL4},{IL13}\n", "b.tsv": "symbol\nIL4\n"}
POSITION = "trait,causal_gene,chrom,pos\nasthma,IL4,5,132680000\n"
gold = dict.fromkeys(GOLD_COLUMNS, "") | {c: v for c, v in zip(GOLD_COLUMNS, ["asthma", "", "ENSG1", "1", "100", "", "drug", "Low", "", "set", "", "8"])}
rows = lambda **change: pd.DataFrame([gold, gold | {next(k for k, v in GOLD_COLUMNS.items() if v == n): v for n, v in change.items()}]).to_csv(sep="\t", index=False)
parquet = lambda **columns: pd.DataFrame(columns).to_parquet()


def packed(path, *names):
    "An archive of empty files."
    with zipfile.ZipFile(path, "w") as archive:
        for name in names: archive.writestr(name, "")
    return path


class Away:
    "A Hub that can't be reached."
    def create_repo(self, *args, **kwargs): raise ConnectionError("no network")


CASES = {  # kind of damage: (files, what is read or called, words of the message: place, fault, remedy)
    "no such file": ({}, "loci.csv", "loci.csv does not exist: give a file of loci"),
    "no whole Excel file": ({"loci.xlsx": b"PK\x03\x04 and no more"}, "loci.xlsx", "loci.xlsx can't be read (File is not a zip file): give a whole table"),
    "two files in one": ({}, lambda: read_table(packed("loci.zip", "a.csv", "b.csv")), "loci.zip packs 2 files: unpack it and give one"),
    "no text": ({"loci.csv": b"\x01\x02"}, "loci.csv", "loci.csv is no text: save it as CSV"),
    "no row": ({"loci.csv": HEAD + "\n"}, "loci.csv", "loci.csv holds no locus: add rows"),
    "missing column": ({"loci.csv": "trait,candidates\na,b\n"}, "loci.csv", "loci.csv lacks the column causal_gene: a loci file has"),
    "column twice": ({"loci.csv": HEAD + ",trait\n"}, "loci.csv", "loci.csv: the column 'trait' stands in the header twice; rename"),
    "cells too many": ({"loci.csv": GOOD + "gout,A,B,A\n"}, "loci.csv", "loci.csv, line 3: 4 cells for the 3 columns of the header; quote"),
    "cell too large": ({"loci.csv": GOOD + "x" * 200_000}, "loci.csv", "loci.csv can't be read (field larger than field limit (131072)): give"),
    "broken JSON": ({"loci.jsonl": '{"trait": "a"}\n{trait}\n'}, "loci.jsonl", "loci.jsonl, line 2: no JSON ("),
    "JSON but no object": ({"loci.jsonl": "[1]\n"}, "loci.jsonl", "loci.jsonl, line 1: not an object; write one"),
    "not parquet": ({"loci.parquet": "PAR1 and no more"}, "loci.parquet", "loci.parquet can't be read ("),
    "empty trait": ({"loci.csv": GOOD + ' ,"A,B",A\n'}, "loci.csv", "loci.csv, line 3: the trait is empty; name it"),
    "one candidate": ({"loci.csv": GOOD + "gout,A,A\n"}, "loci.csv", "loci.csv, line 3: 1 candidate gene leaves nothing to rank; give at least 2"),
    "candidate twice": ({"loci.csv": GOOD + 'gout,"A,B,A",A\n'}, "loci.csv", "loci.csv, line 3: the candidate A is listed twice; remove one"),
    "empty causal gene": ({"loci.csv": GOOD + 'gout,"A,B",\n'}, "loci.csv", "loci.csv, line 3: the causal gene is empty; name it"),
    "causal gene no candidate": ({"loci.csv": GOOD + 'gout,"IL4,IL13",TSLP\n'}, "loci.csv", "loci.csv, line 3: the causal gene TSLP is not one of its 2 candidates; add it"),
    "spreadsheet date": ({"loci.csv": GOOD + 'gout,"IL4,IL13",1-Mar\n'}, "loci.csv", "loci.csv, line 3: the causal gene '1-Mar' is a date made by a spreadsheet (MARCHF1 or MTARC1); write"),
    "position no number": ({"loci.csv": HEAD + ',pos\nasthma,"IL4,IL13",IL4,5q31\n'}, "loci.csv", "loci.csv, line 2: position '5q31' is no whole number of bp; write"),
    "distances no numbers": ({"loci.csv": HEAD + ',distances\nasthma,"IL4,IL13",IL4,"1,near"\n'}, "loci.csv", "loci.csv, line 2: distances must be whole numbers of bp; write"),
    "position beyond the end": ({"loci.csv": POSITION + "gout,ABCG2,4,900000000\n"}, "loci.csv", "loci.csv, line 3: position 900000000 is beyond the end of every chromosome; correct"),
    "position below 1": ({"loci.csv": HEAD + ',pos\nasthma,"IL4,IL13",IL4,0\n'}, "loci.csv", "loci.csv, line 2: position 0 is not on a chromosome; give"),
    "unknown chromosome": ({"loci.csv": HEAD + ',chrom\nasthma,"IL4,IL13",IL4,chr77\n'}, "loci.csv", "loci.csv, line 2: Unknown chromosome 'chr77': known are"),
    "distances missing": ({"loci.csv": HEAD + ',distances\nasthma,"IL4,IL13",IL4,1\n'}, "loci.csv", "loci.csv, line 2: 2 candidates but 1 of their distances; give"),
    "unknown split": ({"loci.csv": HEAD + ',split\nasthma,"IL4,IL13",IL4,tset\n'}, "loci.csv", "loci.csv, line 2: Unknown split 'tset': did you mean 'test'?"),
    "locus_id twice": ({"loci.csv": f'locus_id,{HEAD}\nx,a,"IL4,IL13",IL4\nx,b,"IL4,IL13",IL4\n'}, "loci.csv", "loci.csv, line 3: the locus_id x stands in the file twice; make"),
    "neither candidates nor position": ({"loci.csv": POSITION + "gout,ABCG2,4,\n"}, "loci.csv", "loci.csv, line 3: no candidates and no position; give"),
    "far from every gene": ({"loci.csv": POSITION + "gout,ABCG2,4,240000000\n"}, "loci.csv", "loci.csv, line 3: no gene lies within 500,000 bp of 4:240000000; is"),
    "brace without partner": ({"loci.tsv": "description\tsymbol_gene_string\tsymbol\nasthma\t{IL4},{IL13\tIL4\n"}, "loci.tsv", "loci.tsv, line 2: '{IL13' stands outside the braces of the gene string; write"),
    "pair of unequal lengths": (PAIR | {"b.tsv": "symbol\nIL4\nIL13\n"}, {"loci_files": "a.tsv", "label_files": "b.tsv"}, "a.tsv has 1 row and b.tsv has 2: they are joined row by row, so add"),
    "pair without labels": (PAIR, {"loci_files": "a.tsv", "label_files": []}, "1 loci file (a.tsv) for 0 label files (none): give"),
    "labels without a column": (PAIR | {"b.tsv": "gene\nIL4\n"}, {"loci_files": "a.tsv", "label_files": "b.tsv"}, "b.tsv, line 1: no column symbol or causal_gene; name"),
    "gold standard's position": ({"g.tsv": rows(pos="1e5")}, "g.tsv", "g.tsv, line 3: pos is '1e5'; correct"),
    "gold standard's class": ({"g.tsv": rows(evidence_class="drugs")}, "g.tsv", "g.tsv, line 3: evidence_class is 'drugs'; correct"),
    "positions of another assembly": ({"loci.csv": "trait,causal_gene,chrom,pos\nasthma,IL4,5,1\n"}, ("loci.csv", dict(assembly="GRCh37")), "None of the 1 positions has a place on GRCh38 (the first: loci.csv, line 2, 5:1 on GRCh37 is not in the new assembly): are"),
    "annotation line cut": ({"g.gtf": GENE + "chr1\tx\tgene\n"}, "genes", "g.gtf, line 2: 3 fields instead of 9 separated by tabs; give"),
    "annotation start": ({"g.gtf": GENE + GENE.replace("\t9\t", "\t0\t")}, "genes", "g.gtf, line 2: 1 to 0 is not an interval; correct"),
    "annotation of GRCh37": ({"g.gtf": "#!genome-build GRCh37.p13\n" + GENE}, "genes", "g.gtf, line 1: the genes are on GRCh37; give"),
    "annotation without genes": ({"g.gtf": GENE.replace("gene\t", "exon\t")}, "genes", "g.gtf has no line whose third column is `gene`: give"),
    "annotation torn": ({"g.gtf.gz": gzip.compress((GENE * 900).encode())[:60]}, "genes", "g.gtf.gz is not whole (Compressed file ended before the end-of-stream marker was reached): download"),
    "folder for a file": ({"folder.csv/x": "x"}, lambda: read_table("folder.csv"), "folder.csv can't be read ([Errno 21] Is a directory: 'folder.csv'): give a whole"),
    "pair of files, one missing column": ({"loci.tsv": "description\tsymbol\nasthma\tIL4\n"}, "loci.tsv", "loci.tsv lacks the columns causal_gene, candidates: a loci file has"),
    "no source": ({}, [], "No source is given: name at least one, or `bundled`"),
    "folder without a data set": ({}, lambda: Path("nothing").mkdir() or load_table("nothing"), "The data set nothing can't be read ("),
    "unknown split of a data set": ({"odd/data/holdout-00000-of-00001.parquet": parquet(trait=["asthma"], causal_gene=["IL4"], candidates=["IL4,IL13"])}, "odd", "odd: Unknown split 'holdout': "),
    "unknown choice for symbols": ({"loci.csv": GOOD}, ("loci.csv", dict(symbols="updat")), "Unknown choice for symbols 'updat': did you mean 'update'?"),
    "window for given candidates": ({"loci.csv": GOOD}, ("loci.csv", dict(window=1000)), "Every locus comes with its candidates, so window has no effect: leave it out"),
    "unknown assembly": ({"loci.csv": POSITION}, ("loci.csv", dict(assembly="hg17")), "Unknown assembly 'hg17': did you mean"),
    "missing annotation": ({}, lambda: read_annotation("none.gtf"), "none.gtf does not exist: give a GTF or GFF3"),
    "annotation not UTF-8": ({"g.gtf": b"\xff\xfe"}, "genes", "g.gtf is not UTF-8 text: give a GTF or GFF3"),
    "missing gene table": ({}, lambda: load_genes("none.parquet"), "none.parquet does not exist: give a GTF, GFF3 or parquet file"),
    "gene table of another kind": ({"g.txt": "x"}, "genes", "g.txt is neither parquet nor an annotation (.gtf or .gff3, also .gz): convert"),
    "gene table not parquet": ({"g.parquet": "x"}, "genes", "g.parquet can't be read as parquet (Could not open Parquet input source"),
    "gene table without columns": ({"g.parquet": parquet(symbol=["A"])}, "genes", "g.parquet lacks the columns ensembl_id, chrom, start"),
    "unknown chromosome asked": ({}, lambda: candidate_genes("chr77", 1), "Unknown chromosome 'chr77': "),
    "band for a chromosome": ({}, lambda: candidate_genes("1p32.3", 1), "'1p32.3' is a band of chromosome 1: give chromosome 1 and"),
    "alternate contig": ({}, lambda: candidate_genes("chr6_GL000256v2_alt", 1), "'chr6_GL000256v2_alt' is an alternate or unplaced contig: give"),
    "position asked below 1": ({}, lambda: candidate_genes("5", 0), "Position 0 is not on a chromosome: give"),
    "window below 0": ({}, lambda: candidate_genes("5", 1, window=-1), "Window -1 is negative: give"),
    "unknown biotype": ({}, lambda: candidate_genes("5", 1, biotypes="protein-coding"), "Unknown biotype 'protein-coding': did you mean 'protein_coding'?"),
    "address without a file": ({}, lambda: download(Path("none").resolve().as_uri(), "b", "0" * 64, wait=0), "can't be read (<urlopen error"),
    "address of another file": ({"a": "x"}, lambda: download(Path("a").resolve().as_uri(), "b", "0" * 64, wait=0), f"is not the pinned file (its sha256 is not {'0' * 64}): nothing was kept"),
    "missing gold standards": ({}, lambda: build_loci("none.tsv"), "none.tsv does not exist: give the gold standards' TSV"),
    "gold standards without columns": ({"g.tsv": "a\tb\n1\t2\n"}, lambda: build_loci("g.tsv"), "g.tsv lacks the column trait_info.standard_trait_name: is it"),
    "gold standards of another day": ({"g.tsv": rows()}, lambda: build_bundled("g.tsv", out="out"), "g.tsv does not hold gwas_gold_standards.191108.tsv (sha256 "),
    "nothing to audit": ({}, lambda: check_loci(read_loci().head(0)), "There is no locus to audit: give some"),
    "nothing to draw": ({}, lambda: dataset_chart(read_loci().head(0)), "There is no locus to draw: give a source"),
    "shares beyond 1": ({}, lambda: split_loci(read_loci(), test=1.2), "Shares must lie in [0, 1): test 1.2, validation"),
    "test source that takes everything": ({"loci.csv": GOOD}, ("loci.csv", dict(test_source="loci.csv")), "Every training locus lies in a region of the test source: nothing is left to train on; use"),
    "test source and a test share": ({}, ("bundled", dict(test_source="bundled", test=0.2)), "With test_source the whole of it is the test: leave split and test out"),
    "unknown confidence": ({}, ("bundled", dict(confidence="high")), "Unknown confidence 'high': did you mean 'High'?"),
    "filter that leaves nothing": ({}, ("bundled", dict(evidence_class="functional experimental", confidence="Low")), "No locus is left with evidence_class functional experimental: choose"),
    "counts that leave nothing": ({}, ("bundled", dict(min_candidates=40)), "No locus has 40 to any number of candidates: the lists have 5 to 25"),
    "unknown option": ({}, ("bundled", dict(confidense="High")), "Unknown data option 'confidense': did you mean 'confidence'?"),
    "unknown split mode": ({}, ("bundled", dict(split="region")), "Unknown split mode 'region': did you mean 'regions'?"),
    "a fold that there is not": ({}, lambda: fold_split(read_loci(), 4), "The fold is 4: give a number from 1 to 3."),
    "fold and a share": ({}, ("bundled", dict(fold=1, test=0.2)), "With fold the test is a third of the regions: leave split, test and test_source out."),
    "seed for the first run's split": ({}, ("bundled", dict(split="faithful", seed=3)), "The split faithful follows the file's order: leave seed"),
    "first recorded loci of another source": ({"loci.csv": GOOD}, ("loci.csv", dict(split="v1")), "The split v1 is of the bundled loci: leave source out"),
    "no split of its own": ({"loci.csv": GOOD}, ("loci.csv", dict(split="own")), "The source has no split of its own in every row: leave split out"),
    "seed for the source's own split": ({}, ("bundled", dict(split="own", seed=3)), "The source's own split has no seed, test or validation share: leave"),
    "limit of an unknown split": ({}, ("bundled", dict(limit={"tests": 3})), "Unknown split 'tests': did you mean 'test'?"),
    "limit below 0": ({}, ("bundled", dict(limit={"test": -3})), "data.limit.test is -3: give a whole number"),
    "unknown setting of the stage": ({}, lambda: run_stage("run", {"data": {"sorce": "bundled"}}), "Unknown data option 'sorce': did you mean 'source'?"),
    "too few regions for a run": ({"loci.csv": GOOD}, lambda: run_stage("run", {"data": {"source": "loci.csv"}}), "loci.csv leaves no locus for the split"),
    "no place and no candidates": ({"loci.csv": "trait,causal_gene\ngout,ABCG2\n"}, lambda: read_any("loci.csv"), "loci.csv lacks columns of places or candidates (it has trait, causal_gene): name them chrom and pos, variant"),
    "no trait": ({"loci.csv": "chrom,pos\n4,88131171\n"}, lambda: read_any("loci.csv"), "loci.csv (table) lacks the column trait, and it can't be guessed: give it, as in --trait"),
    "no row of use": ({"loci.csv": "trait,chrom,pos\ngout,77,5\n"}, lambda: read_any("loci.csv"), "loci.csv, none of 1 row can be used: the first, line 2: Unknown chromosome '77'; known are"),
    "whole summary statistics": ({"loci.csv": GOOD * 2}, lambda: read_rows("loci.csv", limit=2), "loci.csv has 3 rows, so it is full summary statistics and no list of loci (at most 2 rows): pick its lead"),
    "nothing to clump by": ({"loci.csv": POSITION}, lambda: read_rows("loci.csv", reach=500_000), "No column of p-values, so nothing can be clumped: leave --clump out"),
    "no table of scores": ({"loci.csv": POSITION, "s.tsv": "gene\nABCG2\n"}, lambda: read_any("loci.csv", scores="s.tsv"), "s.tsv is no table of scores (it has gene): give it a column gene, one of numbers"),
    "scores of other loci": ({"loci.csv": POSITION, "s.tsv": "studyLocusId\tgene\tl2g\nabc\tABCG2\t0.5\n"}, lambda: read_any("loci.csv", scores="s.tsv"), "s.tsv scores none of these loci: its ids are as abc, theirs as"),
    "no token": ({}, lambda: push("me/loci", "folder", "dataset"), "HF_TOKEN is not set: put a token"),
    "Hub away": ({}, lambda: push("me/loci", "folder", "dataset", api=Away()), "me/loci can't be pushed (no network): check name, token and network"),
}


def tell(kind, folder, monkeypatch):
    "Read the broken input in a folder, and check what is said of it; the error."
    files, source, message = CASES[kind]
    monkeypatch.chdir(folder)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    for name, content in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    source, options = source if isinstance(source, tuple) else (source, {})
    with pytest.raises(UserError) as told:
        if callable(source): source()
        elif source == "genes": load_genes(next(iter(files)))
        else: load_table(source, **options)
    text = str(told.value)
    assert message in text and "\n" not in text
    assert re.search(r"[.?]$", text)
    return told


@pytest.mark.parametrize("kind", CASES)
def test_broken_input_is_one_sentence_with_place_and_remedy(kind, tmp_path, monkeypatch): tell(kind, tmp_path, monkeypatch)


def test_the_same_inputs_whole_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in {"loci.csv": GOOD, "at.csv": POSITION, "g.gtf": GENE, **PAIR}.items():
        (tmp_path / name).write_text(content)
    for source in ("loci.csv", {"loci_files": "a.tsv", "label_files": "b.tsv"}):
        assert load_table(source).candidates.tolist() == [["IL13", "IL4"]]
    assert "IL4" in load_table("at.csv").candidates[0]
    assert load_genes("g.gtf").symbol.tolist() == ["A"]
