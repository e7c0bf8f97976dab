"""What several test files share."""
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, and threads that wait for each other are slower than one
SLOW = {"test_run.py", "test_killed.py", "test_sweep.py", "test_resume.py", "test_distributed.py", "test_gpu_check.py", "test_report.py",
        "test_first_pass.py", "test_tour.py", "test_faults.py"}   # files with whole runs or trainings: `make quick` leaves them out
GENERANK = str(Path(sys.executable).with_name("generank"))


def pytest_configure(config): config.addinivalue_line("markers", "slow: a whole run or training")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.name in SLOW: item.add_marker("slow")


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory, worker_id):
    "The real thing at tiny size, made once for all processes that test: (run folder, what the command printed). Tests read it and change copies."
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent)/"tiny"
    with FileLock(f"{folder}.lock"):
        printed = folder/"printed.txt"
        if not printed.exists():
            folder.mkdir(exist_ok=True)
            done = subprocess.run([GENERANK, "run", "--profile", "tiny", "--out", "runs/tiny", "--resume"], cwd=folder, capture_output=True, text=True, timeout=600)
            assert done.returncode == 0, done.stderr
            printed.write_text(done.stdout)
    return folder/"runs"/"tiny", printed.read_text()
