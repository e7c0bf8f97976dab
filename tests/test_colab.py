"""One command sets the repository's address everywhere: shown on a copy of the repository. The cell that it writes prepares a notebook in Colab."""
import importlib
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from address import COLAB_NOTEBOOKS, first_cell

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = "https://github.com/someone/ranker"


@pytest.fixture
def copy(tmp_path):
    "What the command reads and writes, with this environment in place of .venv/."
    for name in ("nbs", "generank", "requirements", "scripts"): shutil.copytree(ROOT/name, tmp_path/name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("Makefile", "settings.ini", "setup.py", "README.md"): shutil.copy(ROOT/name, tmp_path)
    (tmp_path/".venv").symlink_to(sys.prefix)
    return tmp_path


def call(copy, *command):
    outer = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}   # the tests may be called by make themselves
    return subprocess.run(command, cwd=copy, env={**outer, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, timeout=120)


def address(copy, url): return call(copy, "make", "--old-file", ".venv/.set-up", "address", f"URL={url}")


def files(copy): return {p.relative_to(copy).as_posix(): p.read_bytes() for p in copy.rglob("*") if p.is_file() and ".venv" not in p.parts}


def test_one_command_sets_the_address_everywhere(copy):
    before, done = files(copy), address(copy, ADDRESS)
    assert done.returncode == 0, done.stderr
    expected = {"settings.ini", "generank/_modidx.py", *(f"nbs/{name}.ipynb" for name in COLAB_NOTEBOOKS)}
    after = files(copy)
    assert {name for name in before | after if before.get(name) != after.get(name)} == expected
    for name in COLAB_NOTEBOOKS:
        cell = next(c for c in json.loads(after[f"nbs/{name}.ipynb"])["cells"] if c["cell_type"] == "code")
        assert f"address = {ADDRESS!r}" in "".join(cell["source"])

    assert (address(copy, ADDRESS).stdout, files(copy)) == ("\n", after), "the second time changes nothing"
    (copy/"settings.ini").write_bytes(before["settings.ini"])   # by hand, then without URL
    assert address(copy, "").returncode == 0 and files(copy) == before


def test_what_is_no_address_changes_nothing(copy):
    before, wrong = files(copy), address(copy, "someone/ranker")
    assert wrong.returncode != 0 and "is not the address of a repository" in wrong.stderr and files(copy) == before


def test_the_notebooks_hold_the_cell_and_it_does_nothing_elsewhere():
    for name in COLAB_NOTEBOOKS:
        cell = next(c for c in json.loads((ROOT/"nbs"/f"{name}.ipynb").read_text())["cells"] if c["cell_type"] == "code")
        assert "".join(cell["source"]) == first_cell(), name
    space = {}
    exec(first_cell("https://example.org/x.git"), space)
    assert "address" not in space


@pytest.mark.parametrize("secret", [True, False])
def test_in_colab_the_cell_installs_and_works_in_a_folder_of_drive(secret, tmp_path, monkeypatch, caplog):
    "Stand-ins for Drive, for Colab's secrets and for the installation."
    machines, asked = importlib.import_module("generank.machines"), []
    colab = types.ModuleType("google.colab")
    colab.drive = types.SimpleNamespace(mount=lambda at: asked.append(("mount", at)))
    colab.userdata = types.SimpleNamespace(get={"HF_TOKEN": "planted"}.__getitem__ if secret else {}.__getitem__)   # a missing secret is an error there
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.setattr(sys.modules.setdefault("google", types.ModuleType("google")), "colab", colab, raising=False)
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(RuntimeError, match="no address to install generank from"): exec(first_cell(""), {})
    assert asked == []
    monkeypatch.setattr(machines.prepare, "__defaults__", ("MyDrive/generank", str(tmp_path)))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    real, said = subprocess.run, []
    monkeypatch.setattr(subprocess, "run", lambda command, **how: asked.append(tuple(command)) if how == {"check": True} else real(command, **how))
    exec(first_cell("https://example.org/x.git"), {"print": said.append})
    assert Path.cwd() == (tmp_path/"MyDrive"/"generank").resolve()
    assert os.environ.get("HF_TOKEN") == ("planted" if secret else None)
    assert ("Colab's secrets gave no HF_TOKEN (KeyError)" in caplog.text) is not secret
    assert [a[0] for a in asked] == ["sh", sys.executable, "mount"]
    assert asked[0][-1] == "https://example.org/x.git" and asked[1][-1] == "/content/generank[gpu]"
    assert "This machine runs the profile " in said[0] and "/runs." in said[0]
