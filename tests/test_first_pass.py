"""The same run gives the same numbers: no process's first pass through a model may differ from its second."""
import subprocess
import sys
from pathlib import Path

from generank.models import load_model, settle_functions

ROOT = Path(__file__).resolve().parents[1]


def test_the_first_pass_of_a_process_is_like_any_other():
    "Without `settle_functions` a few first cosines of a hundred differ, so that this fails nearly always (LOG.md has the rates)."
    done = subprocess.run([sys.executable, ROOT/"benchmarks/first_pass.py", "--settled-only", "--processes", "400", "--threads", "2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "after settle_functions: 0 of 400 first cosines differ\n"


def test_a_model_is_loaded_after_that():
    settle_functions.cache_clear()
    load_model("random-llama")
    assert settle_functions.cache_info().currsize == 1
