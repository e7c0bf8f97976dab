"""One command sets the repository's address everywhere: shown on a copy of the repository."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = "https://github.com/someone/ranker"
STAGES = ("00_tour", "13_data", "34_grpo", "42_inference", "55_evaluation")


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
    expected = {"settings.ini", "generank/_modidx.py", *(f"nbs/{name}.ipynb" for name in STAGES)}
    after = files(copy)
    assert {name for name in before | after if before.get(name) != after.get(name)} == expected
    for name in STAGES:
        cell = next(c for c in json.loads(after[f"nbs/{name}.ipynb"])["cells"] if c["cell_type"] == "code")
        assert f"address = {ADDRESS!r}" in "".join(cell["source"])

    assert (address(copy, ADDRESS).stdout, files(copy)) == ("\n", after), "the second time changes nothing"
    (copy/"settings.ini").write_bytes(before["settings.ini"])   # by hand, then without URL
    assert address(copy, "").returncode == 0 and files(copy) == before


def test_what_is_no_address_changes_nothing(copy):
    before, wrong = files(copy), address(copy, "someone/ranker")
    assert wrong.returncode != 0 and "is not the address of a repository" in wrong.stderr and files(copy) == before
