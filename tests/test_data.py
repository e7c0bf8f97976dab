"""Properties of the split, on made-up loci and on the bundled ones: no leakage, no dependence on row order, same bytes."""
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generank.cli import main
from generank.core import UserError
from generank.data import check_loci, faithful_split, limit_loci, load_loci, split_loci, transfer_split
from generank.genes import candidate_genes, load_genes, overlaps, table_fingerprint, write_parquet
from generank.sources import SPLITS, merge_duplicates, read_loci, region_ids

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


@given(tables(), tables(), st.integers(0, 2**31), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_model_trained_on_one_source_is_tested_on_regions_it_never_saw(one, other, seed, random):
    shared = set(region_ids(pd.concat([one, other], ignore_index=True)).iloc[len(one):])
    left = [i for i, r in zip(one.index, region_ids(pd.concat([one, other], ignore_index=True))) if r not in shared]
    if not left:
        with pytest.raises(UserError, match="nothing is left to train on"): transfer_split(one, other, seed)
        return
    parts = transfer_split(one, other, seed)
    for key in ("region_id", "causal_gene"): assert parts.groupby(key).split.nunique().max() == 1
    assert parts.explode("candidates").groupby("candidates").split.nunique().max() == 1
    tested, trained = parts[parts.split == "test"], parts[parts.split != "test"]
    assert tested[["trait", "candidates", "causal_gene"]].values.tolist() == other[["trait", "candidates", "causal_gene"]].values.tolist()   # the other source, whole
    assert trained.locus_id.tolist() == one.locus_id[left].tolist() and parts.locus_id.is_unique                                             # and no training locus lost in vain
    order = list(one.index)
    random.shuffle(order)
    again = transfer_split(one.loc[order], other, seed).set_index("locus_id").split
    assert again.to_dict() == parts.set_index("locus_id").split.to_dict()


@given(tables(), st.sampled_from([0.2, 0.33, 0.5]), st.integers(2, 4), st.integers(4, 6))
@settings(max_examples=80, deadline=None)
def test_the_first_runs_split_follows_the_file(loci, test, least, most):
    loci = pd.concat([loci, loci[::3]], ignore_index=True)   # some questions stand twice
    cut = int((1 - test) * len(loci) + 1e-9)
    rows = [dict(r, at=i) for i, r in enumerate(loci.to_dict("records")) if least <= len(r["candidates"]) <= most]
    held = {r["causal_gene"] for r in rows if r["at"] >= cut}
    expected = {"train": [], "test": []}
    for r in rows:
        part = expected["train" if r["at"] < cut else "test"]
        asked = (r["trait"], tuple(sorted(r["candidates"])))
        if (r["at"] < cut and r["causal_gene"] in held) or asked in [a for a, _ in part]: continue
        part.append((asked, r["at"]))
    parts = faithful_split(loci, test, least, most)
    assert parts.index[parts.split == "test"].tolist() == [at for _, at in expected["test"]]
    before = parts[parts.split != "test"]
    assert before.index.tolist() == [at for _, at in expected["train"]]
    validation = -(-len(before) // 10)
    assert before.split.tolist() == ["train"] * (len(before) - validation) + ["validation"] * validation


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
    assert len(checks) == 19 and checks[checks.kind == "fault"].found.sum() == 0
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


RAW = Path(__file__).resolve().parents[2]/"shared"/"data"


@pytest.mark.skipif(not (RAW/"gold_standards").exists(), reason="../shared/data/gold_standards is absent: it is not part of this repository")
def test_building_all_loci_keeps_within_its_limits():
    done = subprocess.run([sys.executable, Path(__file__).parents[1]/"benchmarks"/"loci.py", "--gold-standards", RAW], capture_output=True, text=True)
    assert done.returncode == 0 and "1580 loci" in done.stdout and "Within both limits" in done.stdout, done.stdout + done.stderr


class Hub:
    "Takes the place of `huggingface_hub.HfApi`: notes what it is asked, and keeps the files that would go up."
    asked, kept = [], None

    def __init__(self, token=None): self.asked.append(("token", token))

    def create_repo(self, name, **how): self.asked.append((name, how))

    def upload_folder(self, repo_id, folder_path, allow_patterns, **how):
        self.asked.append((repo_id, how))
        for pattern in allow_patterns:
            for f in Path(folder_path).glob(pattern):
                (self.kept/f.relative_to(folder_path)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(f, self.kept/f.relative_to(folder_path))


def test_a_set_of_the_first_runs_layout_is_pushed_and_read_again(tmp_path, monkeypatch, capsys):
    "As `suyashss/gwas_genes` on the Hub: description, symbol_gene_string and symbol; splits train and eval."
    def rows(names, start):
        return pd.DataFrame([{"description": t, "symbol": g[0], "symbol_gene_string": ",".join(f"{{{s}}}" for s in g)} for t, g in
                             ((f"{t} {start + i}", [f"{t}{start + i}{x}" for x in "ABC"]) for i, t in enumerate(names))])
    (tmp_path/"gwas_genes"/"data").mkdir(parents=True)
    rows(["GOUT", "ASTHMA", "HEIGHT", "LDL", "IBD", "COPD", "T2D", "AD"], 0).to_parquet(tmp_path/"gwas_genes"/"data"/"train-00000-of-00001.parquet")
    rows(["BMI", "CKD"], 20).to_parquet(tmp_path/"gwas_genes"/"data"/"eval-00000-of-00001.parquet")
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    monkeypatch.setattr(Hub, "asked", []), monkeypatch.setattr(Hub, "kept", tmp_path/"there")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert main(["data", "push", "me/loci", "--source", str(tmp_path/"gwas_genes"), "--keep-symbols", "--out", str(tmp_path/"out")]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip() == "https://huggingface.co/datasets/me/loci" and "hf_secret" not in printed.out + printed.err
    assert Hub.asked[0] == ("token", "hf_secret") and Hub.asked[1] == ("me/loci", {"repo_type": "dataset", "private": True, "exist_ok": True})
    assert Hub.asked[2][0] == "me/loci" and Hub.asked[2][1]["repo_type"] == "dataset"
    assert sorted(str(f.relative_to(tmp_path/"there")) for f in (tmp_path/"there").rglob("*.*")) == ["README.md", "data/evaluation.parquet", "data/train.parquet", "data/validation.parquet"]
    given, there = (load_loci(str(tmp_path/folder), symbols="keep") for folder in ("gwas_genes", "there"))
    for split in SPLITS: assert there[split].to_pandas()[["trait", "causal_gene"]].values.tolist() == given[split].to_pandas()[["trait", "causal_gene"]].values.tolist(), split
    assert {*there["test"]["trait"]} == {"BMI 20", "CKD 21"} and there["test"][0]["candidates"] == ["BMI20A", "BMI20B", "BMI20C"]
