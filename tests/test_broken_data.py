"""Broken inputs, each of its own kind: one sentence that names the file, the line where there is one, and the remedy."""
import gzip
import re

import pandas as pd
import pytest

from generank.core import UserError
from generank.data import load_table
from generank.genes import load_genes
from generank.loci import GOLD_COLUMNS

HEAD = "trait,candidates,causal_gene"
GOOD = f'{HEAD}\nasthma,"IL4,IL13",IL4\n'
GENE = 'chr1\tx\tgene\t1\t9\t.\t+\t.\tgene_id "ENSG1"; gene_name "A";\n'
PAIR = {"a.tsv": "description\tsymbol_gene_string\nasthma\t{IL4},{IL13}\n", "b.tsv": "symbol\nIL4\n"}
POSITION = "trait,causal_gene,chrom,pos\nasthma,IL4,5,132680000\n"
gold = dict.fromkeys(GOLD_COLUMNS, "") | {c: v for c, v in zip(GOLD_COLUMNS, ["asthma", "", "ENSG1", "1", "100", "", "drug", "Low", "", "set", "", "8"])}
rows = lambda **change: pd.DataFrame([gold, gold | {next(k for k, v in GOLD_COLUMNS.items() if v == n): v for n, v in change.items()}]).to_csv(sep="\t", index=False)

CASES = {  # kind of damage: (files, what is read, words of the message: place, fault, remedy)
    "no such file": ({}, "loci.csv", "loci.csv does not exist: give a loci file"),
    "unknown ending": ({"loci.xlsx": "x"}, "loci.xlsx", "loci.xlsx is no loci file: its name must end in"),
    "not UTF-8": ({"loci.csv": b"trait\n\xff\xfe"}, "loci.csv", "loci.csv is not UTF-8 text: save it as UTF-8"),
    "no row": ({"loci.csv": HEAD + "\n"}, "loci.csv", "loci.csv holds no locus: add rows"),
    "missing column": ({"loci.csv": "trait,candidates\na,b\n"}, "loci.csv", "loci.csv lacks the column causal_gene: a loci file has"),
    "column twice": ({"loci.csv": HEAD + ",trait\n"}, "loci.csv", "loci.csv, line 1: the column 'trait' stands in the header twice; rename"),
    "cells too many": ({"loci.csv": GOOD + "gout,A,B,A\n"}, "loci.csv", "loci.csv, line 3: the number of cells is not that of the header; quote"),
    "cell too large": ({"loci.csv": GOOD + "x" * 200_000}, "loci.csv", "loci.csv, line 3: not a table (field larger than field limit (131072)); save"),
    "broken JSON": ({"loci.jsonl": '{"trait": "a"}\n{trait}\n'}, "loci.jsonl", "loci.jsonl, line 2: not valid JSON"),
    "JSON but no object": ({"loci.jsonl": "[1]\n"}, "loci.jsonl", "loci.jsonl, line 1: not an object; write one"),
    "not parquet": ({"loci.parquet": "text"}, "loci.parquet", "loci.parquet is not a parquet file, whatever its name says: rename"),
    "empty trait": ({"loci.csv": GOOD + ' ,"A,B",A\n'}, "loci.csv", "loci.csv, line 3: the trait is empty; name it"),
    "one candidate": ({"loci.csv": GOOD + "gout,A,A\n"}, "loci.csv", "loci.csv, line 3: 1 candidate genes leave nothing to rank; give at least 2"),
    "candidate twice": ({"loci.csv": GOOD + 'gout,"A,B,A",A\n'}, "loci.csv", "loci.csv, line 3: the candidate A is listed twice; remove one"),
    "empty causal gene": ({"loci.csv": GOOD + 'gout,"A,B",\n'}, "loci.csv", "loci.csv, line 3: the causal gene is empty; name it"),
    "causal gene no candidate": ({"loci.csv": GOOD + 'gout,"IL4,IL13",TSLP\n'}, "loci.csv", "loci.csv, line 3: the causal gene TSLP is not one of its 2 candidates; add it"),
    "spreadsheet date": ({"loci.csv": GOOD + 'gout,"IL4,IL13",1-Mar\n'}, "loci.csv", "loci.csv, line 3: the causal gene '1-Mar' is a date made by a spreadsheet (MARCHF1 or MTARC1); write"),
    "position no number": ({"loci.csv": HEAD + ',pos\nasthma,"IL4,IL13",IL4,5q31\n'}, "loci.csv", "loci.csv, line 2: pos and distances must be whole numbers of bp; write"),
    "position below 1": ({"loci.csv": HEAD + ',pos\nasthma,"IL4,IL13",IL4,0\n'}, "loci.csv", "loci.csv, line 2: position 0 is not on a chromosome; give"),
    "unknown chromosome": ({"loci.csv": HEAD + ',chrom\nasthma,"IL4,IL13",IL4,chr77\n'}, "loci.csv", "loci.csv, line 2: Unknown chromosome 'chr77': known are"),
    "distances missing": ({"loci.csv": HEAD + ',distances\nasthma,"IL4,IL13",IL4,1\n'}, "loci.csv", "loci.csv, line 2: 1 distances for 2 candidates; give"),
    "unknown split": ({"loci.csv": HEAD + ',split\nasthma,"IL4,IL13",IL4,tset\n'}, "loci.csv", "loci.csv, line 2: Unknown split 'tset': did you mean 'test'?"),
    "locus_id twice": ({"loci.csv": f'locus_id,{HEAD}\nx,a,"IL4,IL13",IL4\nx,b,"IL4,IL13",IL4\n'}, "loci.csv", "loci.csv, line 3: the locus_id x stands in the file twice; make"),
    "neither candidates nor position": ({"loci.csv": POSITION + "gout,ABCG2,4,\n"}, "loci.csv", "loci.csv, line 3: no candidates and no position; give"),
    "far from every gene": ({"loci.csv": POSITION + "gout,ABCG2,4,900000000\n"}, "loci.csv", "loci.csv, line 3: no gene lies within 500,000 bp of 4:900000000; is"),
    "brace without partner": ({"loci.tsv": "description\tsymbol_gene_string\tsymbol\nasthma\t{IL4},{IL13\tIL4\n"}, "loci.tsv", "loci.tsv, line 2: '{IL13' stands outside the braces of the gene string; write"),
    "pair of unequal lengths": (PAIR | {"b.tsv": "symbol\nIL4\nIL13\n"}, {"loci_files": "a.tsv", "label_files": "b.tsv"}, "a.tsv has 1 rows and b.tsv has 2: they are joined row by row, so add"),
    "pair without labels": (PAIR, {"loci_files": "a.tsv", "label_files": []}, "1 loci files (a.tsv) for 0 label files (none): give"),
    "labels without a column": (PAIR | {"b.tsv": "gene\nIL4\n"}, {"loci_files": "a.tsv", "label_files": "b.tsv"}, "b.tsv, line 1: no column symbol or causal_gene; name"),
    "gold standard's position": ({"g.tsv": rows(pos="1e5")}, "g.tsv", "g.tsv, line 3: GRCh38 position '1e5' is not a number; correct"),
    "gold standard's class": ({"g.tsv": rows(evidence_class="drugs")}, "g.tsv", "g.tsv, line 3: evidence_class is 'drugs'; correct"),
    "no chain file": ({"loci.csv": POSITION}, ("loci.csv", dict(assembly="GRCh37")), "Positions on GRCh37 need a chain file: give one"),
    "broken chain file": ({"loci.csv": POSITION, "a.chain": "hello\n"}, ("loci.csv", dict(assembly="GRCh37", chain="a.chain")), "a.chain is not a chain file (alignment line found before chain header: hello): give"),
    "chain of other places": ({"loci.csv": POSITION, "a.chain": "chain 9 chr1 1000 + 100 200 chr1 2000 + 200 300 1\n100\n\n"}, ("loci.csv", dict(assembly="GRCh37", chain="a.chain")), "a.chain lifts none of the 1 positions (the first: loci.csv, line 2, not in the new assembly); is it"),
    "annotation line cut": ({"g.gtf": GENE + "chr1\tx\tgene\n"}, "genes", "g.gtf, line 2: 3 fields instead of 9 separated by tabs; give"),
    "annotation start": ({"g.gtf": GENE + GENE.replace("\t9\t", "\t0\t")}, "genes", "g.gtf, line 2: 1 to 0 is no stretch of a chromosome; correct"),
    "annotation of GRCh37": ({"g.gtf": "#!genome-build GRCh37.p13\n" + GENE}, "genes", "g.gtf, line 1: the genes are on GRCh37; give"),
    "annotation without genes": ({"g.gtf": GENE.replace("gene\t", "exon\t")}, "genes", "g.gtf has no line whose third column is `gene`: give"),
    "annotation torn": ({"g.gtf.gz": gzip.compress((GENE * 900).encode())[:60]}, "genes", "g.gtf.gz is not whole (Compressed file ended before the end-of-stream marker was reached): download"),
}


@pytest.mark.parametrize("kind", CASES)
def test_broken_input_is_one_sentence_with_place_and_remedy(kind, tmp_path, monkeypatch):
    files, source, message = CASES[kind]
    monkeypatch.chdir(tmp_path)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    source, options = source if isinstance(source, tuple) else (source, {})
    with pytest.raises(UserError) as told:
        load_genes(next(iter(files))) if source == "genes" else load_table(source, **options)
    text = str(told.value)
    assert message in text and "\n" not in text
    assert re.search(r"[.?]$", text)


def test_the_same_inputs_whole_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in {"loci.csv": GOOD, "at.csv": POSITION, "g.gtf": GENE, **PAIR}.items():
        (tmp_path / name).write_text(content)
    for source in ("loci.csv", {"loci_files": "a.tsv", "label_files": "b.tsv"}):
        assert load_table(source).candidates.tolist() == [["IL13", "IL4"]]
    assert "IL4" in load_table("at.csv").candidates[0]
    assert load_genes("g.gtf").symbol.tolist() == ["A"]
