"""Every notebook of nbs/ runs from top to bottom in a fresh kernel, as a reader would run it: tests, and stages at tiny size."""
import os
import re
import tempfile
from pathlib import Path

import nbformat
import papermill
import pytest

from generank.execution import Preloaded, Stop, can_fork, kernel_manager

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT/"nbs").glob("*.ipynb"))


def runnable(path):
    "The notebook without the cells that nbdev's own test command leaves out (`#| eval: false`)."
    nb = nbformat.read(path, as_version=4)
    nb.cells = [c for c in nb.cells if not (c.cell_type == "code" and re.search(r"^#\|\s*eval:\s*false", c.source, re.M))]
    return nb


@pytest.fixture(scope="module")
def preloaded():
    "What a run's kernels are forks of, so that the libraries are imported once for all notebooks; None where kernels can't be forks."
    server = Preloaded() if can_fork() else None
    yield server
    if server: server.close()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(path, preloaded, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before = {p: p.stat().st_mtime_ns for p in NOTEBOOKS}
    source = tmp_path/path.name
    nbformat.write(runnable(path), source)
    with tempfile.TemporaryDirectory() as room, open(f"{room}/printed", "w+") as printed:
        papermill.execute_notebook(str(source), str(tmp_path/f"executed-{path.name}"), cwd=str(path.parent), kernel_name="python3", language="python",
                                   kernel_manager_class=kernel_manager(Stop(), printed, preloaded=preloaded, sockets=Path(room)), progress_bar=False, execution_timeout=300)
    executed = nbformat.read(tmp_path/f"executed-{path.name}", as_version=4)
    assert all(c.execution_count for c in executed.cells if c.cell_type == "code" and c.source.strip())
    assert {p: p.stat().st_mtime_ns for p in NOTEBOOKS} == before, "a notebook wrote to nbs/"


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
    assert path.stem in ("index", "dataset", "published", "architecture") or not code or any(c.source.startswith("#| default_exp") for c in code)


def test_stage_notebooks_have_one_parameters_cell():
    for name in ("12_data", "34_grpo", "42_inference", "55_evaluation", "index", "dataset"):
        path = ROOT/"nbs"/f"{name}.ipynb"
        nb = nbformat.read(path, as_version=4)
        found = [c for c in nb.cells if "parameters" in c.metadata.get("tags", [])]
        assert len(found) == 1 and "run_dir" in found[0].source, name


def test_no_committed_text_names_a_machine():
    found = [str(p.relative_to(ROOT)) for p in NOTEBOOKS if os.fspath(ROOT) in p.read_text(encoding="utf-8")]
    assert not found, f"a path of this machine stands in {found}"
