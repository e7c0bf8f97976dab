"""The same run gives the same numbers: no process's first pass through a model may differ from its second."""
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_first_pass_of_a_process_is_like_any_other():
    "Without `settle_functions` a few passes of a hundred differ, so that this fails nearly always (LOG.md has the rates)."
    done = subprocess.run([sys.executable, ROOT/"benchmarks/first_pass.py", "--settled-only", "--processes", "120", "--threads", "2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "load_model as it is: 0 of 120 first passes differ\n"
