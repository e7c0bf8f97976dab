"""Properties of reading: what is written in any layout is read back, and names of genes are mended once and for all."""
import json
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generank.core import UserError, counted
from generank.data import load_table
from generank.genes import CHROMOSOMES, load_genes, table_fingerprint
from generank.sources import LOCUS_COLUMNS
from generank.sources import SPLITS, parse_gene_string, read_hub, read_loci, read_pairs
from generank.genes import Names, load_synonyms, rename_row

GENES, NAMES = load_genes(), Names()
symbols = st.from_regex(r"[A-Z][A-Z0-9]{1,6}(-[A-Z0-9]{1,3})?", fullmatch=True)
words = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("\n\",;\t|"), min_size=1, max_size=20).map(str.strip).filter(bool)  # quotes and separators too


@st.composite
def loci(draw):
    "A table of loci as a reader may have it: columns of facts present or empty, a split or none."
    rows, split = [], draw(st.booleans())
    for i in range(draw(st.integers(1, 6))):
        candidates = draw(st.lists(symbols, min_size=2, max_size=6, unique=True))
        rows.append({"locus_id": f"locus-{i}", "trait": draw(words), "candidates": sorted(candidates), "causal_gene": draw(st.sampled_from(candidates)),
                     "chrom": draw(st.none() | st.sampled_from(CHROMOSOMES)), "pos": draw(st.none() | st.integers(1, 250_000_000)), "rsid": draw(st.none() | st.just("rs7")),
                     "distances": draw(st.none() | st.lists(st.integers(0, 500_000), min_size=len(candidates), max_size=len(candidates))),
                     "evidence_class": draw(st.none() | words), "confidence": draw(st.none() | st.sampled_from(["High", "Low"])), "pmid": draw(st.none() | st.just("12345")),
                     "split": draw(st.sampled_from(SPLITS)) if split else None})
    return pd.DataFrame(rows, dtype=object)


def write(table, path):
    "Write a table as its ending says; in text files a list is text."
    text = table.assign(**{c: [None if v is None else ",".join(map(str, v)) for v in table[c]] for c in ("candidates", "distances") if c in table})
    if path.suffix == ".parquet": table.assign(**({"pos": table.pos.astype("Int64")} if "pos" in table else {})).to_parquet(path)
    elif path.suffix == ".jsonl": path.write_text("".join(json.dumps(r) + "\n" for r in table.to_dict("records")), encoding="utf-8")
    else: text.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@given(loci())
@settings(max_examples=60, deadline=None)
def test_every_kind_of_file_is_read_back(table):
    with tempfile.TemporaryDirectory() as folder:
        found = {ending: read_loci(write(table, Path(folder)/f"loci{ending}"), genes=GENES, symbols="keep") for ending in (".csv", ".tsv", ".jsonl", ".parquet")}
    for ending, read in found.items():
        for column in table: assert [None if v is pd.NA else v for v in read[column]] == table[column].tolist(), (ending, column)
    assert len({table_fingerprint(read) for read in found.values()}) == 1


LAYOUTS = {"braces": lambda g: ",".join(f"{{{x}}}" for x in g), "parentheses": lambda g: ",".join(f"({x})" for x in g), "spaced": lambda g: ", ".join(f"{{{x}}}" for x in g),
           "plain": ",".join, "list": lambda g: "[" + ", ".join(f"'{x}'" for x in g) + "]"}


@pytest.mark.parametrize("layout", LAYOUTS)
@given(genes=st.lists(symbols, min_size=1, max_size=12, unique=True))
def test_every_way_of_writing_a_gene_string_is_read_back(layout, genes):
    assert parse_gene_string(LAYOUTS[layout](genes), "f.tsv, line 2") == genes


@given(st.text(st.sampled_from("{}()[],AB "), max_size=12))
def test_a_gene_string_is_read_or_refused(text):
    try: genes = parse_gene_string(text, "f.tsv, line 2")
    except UserError as e: assert str(e).startswith("f.tsv, line 2: ") and "\n" not in str(e)
    else:
        assert all(g == g.strip() for g in genes) and not set("{}()") & set("".join(genes))
        assert [c for c in "".join(genes) if c in "AB"] == [c for c in text if c in "AB"], "a symbol was lost"


def first_run(table, layout):
    "A table's rows in the first run's columns."
    return pd.DataFrame({"description": table.trait, "symbol_gene_string": table.candidates.map(LAYOUTS[layout]), "symbol": table.causal_gene}, dtype=object)


@given(st.lists(loci(), min_size=1, max_size=3), st.sampled_from([*LAYOUTS][:4]))
@settings(max_examples=40, deadline=None)
def test_pairs_of_files_are_joined_row_by_row(tables, layout):
    tables = [table.assign(trait=table.trait.str.lstrip("#").str.strip().replace("", "gout")) for table in tables]   # a line that begins with # is a comment
    with tempfile.TemporaryDirectory() as folder:
        names = [(Path(folder)/f"loci-{i}.tsv", Path(folder)/f"labels-{i}.tsv") for i in range(len(tables))]
        for table, (a, b) in zip(tables, names):
            rows = first_run(table, layout)
            rows[["description", "symbol_gene_string"]].to_csv(a, sep="\t", index=False)
            rows[["symbol"]].to_csv(b, sep="\t", index=False)
        pairs = {"loci_files": [a for a, _ in names], "label_files": [b for _, b in names]}
        read = read_loci(pairs, genes=GENES, symbols="keep")
        every = pd.concat(tables, ignore_index=True)
        for column in ("trait", "candidates", "causal_gene"): assert read[column].tolist() == every[column].tolist()
        with names[0][1].open("a") as f: f.write("TP53\n")
        with pytest.raises(UserError, match=f"loci-0.tsv has {counted(len(tables[0]), 'row')} and .*labels-0.tsv has {len(tables[0]) + 1}"): read_pairs(**pairs)


HUB_SPLITS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation", "dev": "validation", "test": "test", "eval": "test", "evaluation": "test"}


@given(st.dictionaries(st.sampled_from([*HUB_SPLITS]), loci(), min_size=1, max_size=3), st.sampled_from([*LAYOUTS][:4]))
@settings(max_examples=12, deadline=None)
def test_a_data_set_in_the_hubs_layout_is_read_back(parts, layout):
    parts = {s: t for s, t in parts.items() if [HUB_SPLITS[x] for x in parts].count(HUB_SPLITS[s]) == 1}
    if not parts: return
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)/"set"/"data"
        data.mkdir(parents=True)
        for split, table in parts.items(): first_run(table, layout).to_parquet(data/f"{split}-00000-of-00001.parquet")
        raw, read = read_hub(str(data.parent)), read_loci(str(data.parent), genes=GENES, symbols="keep")
    assert len(raw) == len(read) == sum(map(len, parts.values()))
    for split, table in parts.items():
        mine = read[read.split == HUB_SPLITS[split]]
        for column in ("trait", "candidates", "causal_gene"): assert mine[column].tolist() == table[column].tolist()


@given(loci())
@settings(max_examples=30, deadline=None)
def test_a_table_with_a_split_keeps_it(table):
    if table.split.isna().any(): return
    with tempfile.TemporaryDirectory() as folder:
        read = load_table(str(write(table, Path(folder)/"loci.parquet")), genes=GENES, symbols="keep")
    assert read.split.tolist() == table.split.tolist() and list(read) == [*LOCUS_COLUMNS, "split"]


given_names = (st.sampled_from(sorted(set(GENES.symbol))[::97]) | st.sampled_from(sorted(set(load_synonyms().synonym))[::197]) | st.sampled_from(sorted(GENES.ensembl_id)[::997]).map(lambda i: f"{i}.4")
               | st.sampled_from(["1-Mar", "2-Mar", "4-Sep", "1-Dec", "Sep-15", "5-Apr", "brca1", "p53", "MARCHF1", "MTARC1"]) | symbols | words)


@given(given_names, st.none() | st.sampled_from(CHROMOSOMES))
@settings(max_examples=300, deadline=None)
def test_a_name_becomes_a_symbol_of_today_or_stays(name, chrom):
    found, why = NAMES.resolve(name, chrom)
    assert set(found) <= set(NAMES.symbols) and len(set(found)) == len(found)
    assert (name in NAMES.symbols) == (why == "current") and (why != "current" or found == [name])
    assert (why == "unknown") <= (not found)
    for symbol in found: assert NAMES.resolve(symbol, chrom) == ([symbol], "current")


@given(st.lists(given_names, min_size=2, max_size=8, unique=True), st.data(), st.none() | st.sampled_from(CHROMOSOMES))
@settings(max_examples=200, deadline=None)
def test_renaming_is_told_keeps_the_answer_and_is_done_once(candidates, data, chrom):
    gene = data.draw(st.sampled_from(candidates))
    row = dict(candidates=list(candidates), distances=list(range(len(candidates))), causal_gene=gene, chrom=chrom)
    try: told = rename_row(row, NAMES, "f.csv, line 2")
    except UserError as e:
        assert str(e).startswith(f"f.csv, line 2: the causal gene {gene!r} is a date") and NAMES.resolve(gene, chrom)[1] == "date"
        return
    assert len(set(row["candidates"])) == len(row["candidates"]) == len(row["distances"])
    assert row["causal_gene"] in row["candidates"]
    assert {t["given"] for t in told if t["column"] == "candidates"} >= set(candidates) - set(row["candidates"]) and all(t["where"] == "f.csv, line 2" for t in told)
    means = [found[0] if len(found) == 1 else name for name in candidates for found in [NAMES.resolve(name, chrom)[0]]]
    assert row["distances"] == [means.index(name) for name in row["candidates"]]       # the first of two names of one gene
    assert all(NAMES.resolve(name, chrom)[1] != "date" for name in row["candidates"])
    again = {k: v if isinstance(v, str) or v is None else list(v) for k, v in row.items()}
    assert rename_row(again, NAMES, "") == [] and again == row
