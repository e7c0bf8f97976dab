"""The first published run's figures come out of its own response files, which stand beside the checkout and are never part of it."""
import itertools, time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from generank.core import UserError
from generank.evaluation import compare, evaluate

PUBLISHED = Path(__file__).resolve().parents[2]/"shared"/"data"/"published"
NAMES = ["zero_shot_8b", "grpo_8b", "grpo_8b_binary_reward", "zero_shot_70b", "zero_shot_8b_short_prompt"]
pytestmark = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="../shared/data/published is absent: the first run's responses are not part of this repository")


def path(name): return PUBLISHED/f"{name}_results.csv"


@pytest.fixture(scope="module")
def result(): return evaluate({n: path(n) for n in NAMES})


@pytest.fixture
def table(): return pd.read_csv(path("grpo_8b"), dtype=str, keep_default_na=False)


@pytest.mark.parametrize("name, k, accuracy", [
    ("zero_shot_8b", 1, 0.2454), ("grpo_8b", 1, 0.5018), ("zero_shot_70b", 1, 0.4799), ("zero_shot_8b_short_prompt", 1, 0.3883),
    ("grpo_8b", 3, 0.6813), ("grpo_8b", 5, 0.7509), ("grpo_8b", 7, 0.7619),
    ("grpo_8b_binary_reward", 1, 0.4945), ("grpo_8b_binary_reward", 3, 0.6117), ("grpo_8b_binary_reward", 5, 0.6337), ("grpo_8b_binary_reward", 7, 0.6337),
    ("zero_shot_70b", 3, 0.6996), ("zero_shot_70b", 5, 0.8059), ("zero_shot_70b", 7, 0.8388)])
def test_top_k(result, name, k, accuracy):
    run = next(r for r in result["runs"] if r["name"] == name)
    assert (run["n"], run["n_clusters"]) == (273, 152)
    assert round(run["top_k"][str(k)]["accuracy"], 4) == accuracy


@pytest.mark.parametrize("name, rate", [("zero_shot_8b", 0.3956), ("grpo_8b", 0.0037), ("zero_shot_70b", 0.0110)])
def test_format_errors(result, name, rate):
    assert round(next(r for r in result["runs"] if r["name"] == name)["format_error_rate"], 4) == rate


def test_list_lengths(result):
    lengths = {r["name"]: round(r["mean_list_length"], 1) for r in result["runs"]}
    assert (lengths["grpo_8b"], lengths["grpo_8b_binary_reward"]) == (4.9, 3.2)


def test_intervals(result):
    top = next(r for r in result["runs"] if r["name"] == "grpo_8b")["top_k"]["1"]
    assert top["se"] == pytest.approx(0.030, abs=5e-4) and top["se_clustered"] == pytest.approx(0.047, abs=5e-4)
    assert top["ci_low"] < top["ci_iid_low"] < top["accuracy"] < top["ci_iid_high"] < top["ci_high"]


@pytest.mark.parametrize("k, only_a, only_b, p", [(1, 34, 28, 0.526), (7, 17, 38, 0.0065)])
def test_rank_reward_against_70b(k, only_a, only_b, p):
    row = next(r for r in compare(path("grpo_8b"), path("zero_shot_70b"))["comparisons"] if r["k"] == k)
    assert (row["only_a"], row["only_b"]) == (only_a, only_b) and row["mcnemar_p"] == pytest.approx(p, abs=5e-4)
    assert row["cluster_p"] > row["mcnemar_p"]


def test_shape(result):
    assert {"a", "b", "k", "difference", "ci_low", "ci_high", "only_a", "only_b", "mcnemar_p", "cluster_p", "holm_p"} <= set(result["comparisons"][0])
    assert [(r["a"], r["b"], r["k"]) for r in result["comparisons"]] == [(*p, k) for p in itertools.combinations(NAMES, 2) for k in (1, 3, 5, 7)]
    assert result["runs"][0]["mrr_completed"] is None  # these files carry no candidates


@pytest.mark.parametrize("change", [
    dict(lineterminator="\r\n", index=False), dict(quoting=1, index=False), dict(quoting=1, lineterminator="\r\n"), dict(encoding="utf-8-sig")])
def test_any_way_of_writing_the_file(table, tmp_path, result, change):
    table.to_csv(tmp_path/"grpo_8b.csv", **change)
    assert evaluate(tmp_path/"grpo_8b.csv")["runs"][0] == next(r for r in result["runs"] if r["name"] == "grpo_8b")


def test_rows_permuted_and_columns_added(tmp_path, result):
    order = np.random.default_rng(0).permutation(273)
    for name in ("grpo_8b", "zero_shot_70b"):
        pd.read_csv(path(name), dtype=str, keep_default_na=False).iloc[order].assign(note="x").to_csv(tmp_path/f"{name}.csv", index=False)
    row = compare(tmp_path/"grpo_8b.csv", tmp_path/"zero_shot_70b.csv")["comparisons"][0]
    assert (row["only_a"], row["only_b"], round(row["mcnemar_p"], 3)) == (34, 28, 0.526)


def test_never_mispaired(table, tmp_path):
    unnumbered = table.drop(columns="Unnamed: 0")
    unnumbered.iloc[::-1].to_csv(tmp_path/"reversed.csv", index=False)
    with pytest.raises(UserError, match="can't be paired: the causal gene of row 1 is"): compare(path("grpo_8b"), tmp_path/"reversed.csv")
    table.iloc[:200].to_csv(tmp_path/"short.csv", index=False)
    with pytest.raises(UserError, match="different loci"): compare(path("grpo_8b"), tmp_path/"short.csv")
    pd.concat([table, table.head(1)]).to_csv(tmp_path/"twice.csv", index=False)
    with pytest.raises(UserError, match="row 274: it stands twice"): evaluate(tmp_path/"twice.csv")
    table.drop(columns="raw_response").to_csv(tmp_path/"lacking.csv", index=False)
    with pytest.raises(UserError, match="lacks the column raw_response"): evaluate(tmp_path/"lacking.csv")
    with pytest.raises(UserError, match="row 5: it has no answer"): evaluate(table.assign(raw_response=table.raw_response.where(table.index != 4)))


def test_rows_pair_by_their_numbers(table, tmp_path, result):
    "One file's rows in another order, or two rows of one causal gene exchanged: the row numbers tell."
    twins = table.index[table.true_answer == table.true_answer.mode()[0]][:2]
    swapped = table.copy()
    swapped.loc[twins] = table.loc[twins[::-1]].to_numpy()
    expected = next(r for r in result["comparisons"] if (r["a"], r["b"], r["k"]) == ("grpo_8b", "zero_shot_70b", 1))
    for changed in (table.iloc[::-1], table.sample(frac=1, random_state=1), swapped):
        changed.to_csv(tmp_path/"grpo_8b.csv", index=False)
        found = compare(tmp_path/"grpo_8b.csv", path("zero_shot_70b"))["comparisons"][0]
        assert {c: found[c] for c in expected if c not in ("a", "b", "holm_p")} == {c: expected[c] for c in expected if c not in ("a", "b", "holm_p")}
        assert evaluate(tmp_path/"grpo_8b.csv")["runs"][0] == next(r for r in result["runs"] if r["name"] == "grpo_8b")


def test_strict_scoring_is_another_number(result):
    strict = evaluate(path("zero_shot_8b"), scoring="strict")["runs"][0]
    assert strict["format_error_rate"] == next(r for r in result["runs"] if r["name"] == "zero_shot_8b")["format_error_rate"]
    assert strict["mean_list_length"] < 5  # untagged answers hold no list


def test_five_files_take_seconds():
    start = time.process_time()
    evaluate({n: path(n) for n in NAMES}, draws=10_000)
    assert time.process_time() - start < 3


def test_shares_add_up(result):
    assert len(result["decomposition"]) == 10
    for row in result["decomposition"]: assert row["form"] + row["length"] + row["ranking"] == pytest.approx(row["difference"], abs=1e-9)


def test_the_committed_table_is_made_of_the_pinned_files_alone(tmp_path):
    from generank.genes import BUNDLED
    from published import SHA256, build_published
    assert build_published(PUBLISHED, tmp_path).read_bytes() == (BUNDLED/"published.csv").read_bytes()
    assert (tmp_path/"published.json").read_bytes() == (BUNDLED/"published.json").read_bytes()
    with pytest.raises(UserError, match="zero_shot_8b_results.csv does not exist"): build_published(tmp_path, tmp_path)
    for name in SHA256: (tmp_path/f"{name}_results.csv").write_bytes(b"other")
    with pytest.raises(UserError, match="is not the published file"): build_published(tmp_path, tmp_path)
