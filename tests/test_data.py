"""Properties of the split, on made-up loci and on the bundled ones: no leakage, no dependence on row order, same bytes."""
import hashlib
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generank.core import UserError
from generank.data import SPLITS, check_loci, limit_loci, load_loci, merge_duplicates, read_loci, split_loci
from generank.genes import candidate_genes, load_genes, overlaps, table_fingerprint, write_parquet

GENES = [f"G{i:02d}" for i in range(40)]


@st.composite
def tables(draw):
    """Loci of 2 to 6 neighbouring genes; neighbours overlap, so that chains of shared candidates arise."""
    rows = []
    for i in range(draw(st.integers(1, 40))):
        start, n = draw(st.integers(0, 34)), draw(st.integers(2, 6))
        candidates = GENES[start:start + n]
        rows.append({"locus_id": f"locus_{i}", "trait": draw(st.sampled_from("abcdef")), "candidates": candidates,
                     "causal_gene": draw(st.sampled_from(candidates)), "evidence_class": draw(st.sampled_from(["drug", "expert curated", None]))})
    return pd.DataFrame(rows).drop_duplicates(["trait", "causal_gene"], ignore_index=True)


@given(tables(), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_no_gene_and_no_region_stands_in_two_splits(loci, seed):
    parts = split_loci(loci, seed=seed)
    assert set(parts.split) <= set(SPLITS)
    assert parts.groupby("region_id").split.nunique().max() == 1
    assert parts.groupby("causal_gene").split.nunique().max() == 1
    assert parts.explode("candidates").groupby("candidates").split.nunique().max() == 1
    assert parts.explode("candidates").groupby("candidates").region_id.nunique().max() == 1


@given(tables(), st.integers(0, 2**31), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_of_rows_does_not_matter(loci, seed, random):
    order = list(range(len(loci)))
    random.shuffle(order)
    parts, shuffled = split_loci(loci, seed=seed), split_loci(loci.iloc[order], seed=seed).sort_index()
    pd.testing.assert_frame_equal(parts, shuffled)
    limit = {"train": 3, "test": 2}
    assert list(limit_loci(parts, limit).locus_id) == list(limit_loci(parts.iloc[order], limit).sort_index().locus_id)


@given(tables(), st.integers(0, 2**31))
@settings(max_examples=12, deadline=None)
def test_the_same_seed_gives_the_same_bytes(loci, seed):
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for name in "ab":
            path = Path(folder) / name
            write_parquet(split_loci(loci, seed=seed), path)
            found.append(hashlib.sha256(path.read_bytes()).hexdigest())
        assert found[0] == found[1]
        assert table_fingerprint(pd.read_parquet(path)) == table_fingerprint(split_loci(loci, seed=seed))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("GH"), st.sampled_from(["High", "Medium", "Low"]), st.integers(0, 9), st.integers(1, 9)), min_size=1),
       st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_merging_keeps_the_highest_confidence_whatever_the_order(rows, random):
    lines = pd.DataFrame(rows, columns=["trait", "causal_gene", "confidence", "neg_log_pval", "pos"]).assign(
        chrom="1", evidence_class="drug", source="s", pmid=None, rsid=None)
    merged = merge_duplicates(lines)
    assert not merged.duplicated(["trait", "causal_gene"]).any()
    rank = {"High": 0, "Medium": 1, "Low": 2}
    best = lines.assign(r=lines.confidence.map(rank)).groupby(["trait", "causal_gene"]).r.min()
    assert all(rank[m.confidence] == best[m.trait, m.causal_gene] for m in merged.itertuples())
    order = list(range(len(lines)))
    random.shuffle(order)
    assert table_fingerprint(merge_duplicates(lines.iloc[order])) == table_fingerprint(merged)


@given(st.integers(1, 2000), st.integers(0, 500))
@settings(max_examples=50, deadline=None)
def test_overlaps_agrees_with_the_definition(pos, window):
    genes = pd.DataFrame({"chrom": "1", "start": range(1, 2000, 97), "end": range(31, 2030, 97)})
    pairs = overlaps(["1"], [pos], genes, window)
    expected = [i for i, g in enumerate(genes.itertuples()) if g.start <= pos + window and g.end >= pos - window]
    assert pairs.gene.tolist() == expected
    for gene, distance in zip(pairs.gene, pairs.distance):
        start, end = genes.start[gene], genes.end[gene]
        assert distance == (0 if start <= pos <= end else min(abs(pos - start), abs(pos - end)))


def test_the_bundled_loci_are_disjoint_and_agree_with_the_gene_table():
    loci = read_loci()
    checks = check_loci(loci)
    assert len(checks) == 21 and checks[checks.kind == "fault"].found.sum() == 0
    genes = load_genes()
    for locus in loci.iloc[::50].itertuples():
        around = candidate_genes(locus.chrom, locus.pos, genes=genes).set_index("symbol").distance
        assert dict(zip(locus.candidates, locus.distances)) == around.to_dict()


def test_the_answer_is_found_nowhere_but_in_its_column():
    loci = read_loci()
    assert not [i for i, g in zip(loci.locus_id, loci.causal_gene) if g.lower() in i.lower()]
    assert (loci.candidates.map(sorted) == loci.candidates).all()
    first = sum(c[0] == g for c, g in zip(loci.candidates, loci.causal_gene)) / len(loci)
    assert first < 0.2  # alphabetical order gives nothing away: about 1/12 is chance


def test_a_locus_whose_causal_gene_is_not_a_candidate_names_its_line(tmp_path):
    path = tmp_path / "loci.csv"
    path.write_text('trait,candidates,causal_gene\nasthma,"IL4,IL13",IL4\nasthma,"IL4,IL13",TSLP\n')
    with pytest.raises(UserError, match=r"loci.csv, line 3: the causal gene TSLP is not one of its 2 candidates"):
        load_loci(path)
