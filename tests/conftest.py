"""What several test files share."""
import os
import shutil
import sys
from pathlib import Path

import pytest
from filelock import FileLock

import forked

sys.path.append(str(Path(__file__).resolve().parents[1]/"scripts"))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, and threads that wait for each other are slower than one
SLOW = {"test_run.py", "test_killed.py", "test_sweep.py", "test_resume.py", "test_distributed.py", "test_gpu_check.py", "test_report.py",
        "test_first_pass.py", "test_tour.py", "test_faults.py", "test_temperature.py"}   # files with whole runs or trainings: `make quick` leaves them out
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: a whole run or training")
    if getattr(config.option, "numprocesses", None): forked.serve()   # before its workers start, which share it


def pytest_collection_modifyitems(items):
    "Whole runs are marked, and begin first: one of four minutes that begins last keeps the other processes waiting."
    for item in items:
        if item.path.name in SLOW: item.add_marker("slow")
    items.sort(key=lambda i: i.path.name not in SLOW)


@pytest.hookimpl(optionalhook=True)   # `make vllm-test` and `make gpu-paths` have no xdist
def pytest_xdist_make_scheduler(config, log):
    """A file's tests stay in one process, since they share what they build (test_distributed and test_resume the imports of a training); notebooks share nothing and go one by one.

    `--dist loadgroup` would do it by a mark, but pytest 9.2 no longer reads the id in which xdist 3.8 writes the group."""
    from xdist.scheduler import LoadScopeScheduling
    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid): return nodeid if "test_notebooks.py" in nodeid else nodeid.split("::")[0].replace("test_distributed", "test_resume")
    return ByFile(config, log)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory, worker_id):
    "The real thing at tiny size, made once for all processes that test: (run folder, what the command printed). Tests read it and change copies."
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent)/"tiny"
    with FileLock(f"{folder}.lock"):
        printed = folder/"printed.txt"
        if not printed.exists():
            folder.mkdir(exist_ok=True)
            env = {**os.environ, "CONNECTIONS": str(folder/"connections.txt"), "GENERANK_OFFLINE": "1"}
            done = forked.run("run", "--profile", "tiny", "--out", "runs/tiny", "--resume", cwd=folder, env=env, first=forked.guarded, timeout=600)
            assert done.returncode == 0, done.stderr
            printed.write_text(done.stdout)
    return folder/"runs"/"tiny", printed.read_text()
