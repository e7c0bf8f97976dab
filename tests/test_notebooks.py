"""Every notebook of nbs/ runs from top to bottom, as `nbdev_test` runs it, in a process of its own; the five stages, by stock papermill, make the run that `generank run` makes."""
import os
import re
from pathlib import Path

import nbformat
import pytest

import forked
from test_killed import differing

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT/"nbs").glob("*.ipynb"))
STAGES = ("13_data", "34_grpo", "42_inference", "55_evaluation", "index")


@pytest.fixture
def untouched():
    "Nothing in nbs/ is written to."
    before = {p: p.stat().st_mtime_ns for p in NOTEBOOKS}
    yield
    assert {p: p.stat().st_mtime_ns for p in NOTEBOOKS} == before, "a notebook wrote to nbs/"


@pytest.mark.parametrize("path", [p for p in NOTEBOOKS if p.stem not in (*STAGES, "00_tour")], ids=lambda p: p.stem)
def test_notebook_runs(path, untouched, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    failed = forked.notebook(path)
    assert failed is None, failed


def test_the_stages_run_by_stock_papermill_as_in_a_run(tiny_run, untouched, tmp_path):
    "Tests and examples of the notebooks included; then the same bytes as `generank run --profile tiny`."
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    for name in STAGES:
        command = [f"nbs/{name}.ipynb", str(tmp_path/f"{name}.ipynb"), "-p", "profile", "tiny", "-p", "run_dir", str(tmp_path/"run"), "-p", "overrides", "{}"]
        done = forked.run(*command, "--execution-timeout", "300", "--no-progress-bar", entry="papermill.__main__:papermill", cwd=ROOT, env=env, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
    assert differing(tmp_path/"run", tiny_run[0]) == []
    assert (tmp_path/"run"/"config.yaml").read_text() == (tiny_run[0]/"config.yaml").read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_well_formed(path):
    nb = nbformat.read(path, as_version=4)
    assert nb.metadata.kernelspec.name == "python3"
    tags = {t for c in nb.cells for t in c.metadata.get("tags", [])}
    assert tags <= {"test", "parameters"}, f"unknown cell tags {tags - {'test', 'parameters'}}"
    code = [c for c in nb.cells if c.cell_type == "code"]
    exported = [c for c in code if re.search(r"^#\|\s*export\s*$", c.source, re.M)]
    assert not [c.source[:60] for c in exported if c.metadata.get("tags")], "exported cells carry no tag: a run would drop a test"
    long = {c.source.splitlines()[1]: len(c.source.splitlines()) for c in exported if len(c.source.splitlines()) > 51}
    assert not long, f"exported cells over 50 lines (aim at 10, and 40 at most): {long}"
    assert path.stem in ("00_tour", "90_published", "index") or not code or any(c.source.startswith("#| default_exp") for c in code)


def test_the_stages_have_the_same_parameters():
    cells = {}
    for name in STAGES:
        found = [c.source.splitlines() for c in nbformat.read(ROOT/"nbs"/f"{name}.ipynb", as_version=4).cells if "parameters" in c.metadata.get("tags", [])]
        assert len(found) == 1, name
        cells[name] = [line.partition("#")[0].strip() for line in found[0]]
    assert all(lines[:4] == ['profile = "laptop"', 'run_dir = "runs/laptop"', "arms = []", "overrides = {}"] for lines in cells.values()), cells
    assert {name for name, lines in cells.items() if len(lines) > 4} == {"index"}


def test_no_committed_text_names_a_machine():
    found = [str(p.relative_to(ROOT)) for p in NOTEBOOKS if os.fspath(ROOT) in p.read_text(encoding="utf-8")]
    assert not found, f"a path of this machine stands in {found}"
