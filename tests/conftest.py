"""What several test files share."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

sys.path.append(str(Path(__file__).resolve().parents[1]/"scripts"))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, and threads that wait for each other are slower than one
SLOW = {"test_run.py", "test_killed.py", "test_sweep.py", "test_resume.py", "test_distributed.py", "test_gpu_check.py", "test_report.py",
        "test_first_pass.py", "test_tour.py", "test_faults.py", "test_temperature.py"}   # files with whole runs or trainings: `make quick` leaves them out
GUARD = """
import os, sys
def _note(line):
    with open(os.environ["CONNECTIONS"], "a") as f: f.write(f"{line}\\n")
def _look(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        place = args[1] if event in ("socket.connect", "socket.sendto") else args[0]
        place = place[0] if isinstance(place, tuple) and place else place
        here = not isinstance(place, str) or place in ("", "localhost", "::1") or place.startswith("127.") or place.startswith("/")
        if not here: _note(f"{event} {place} {' '.join(sys.argv)[:80]}")
if os.environ.get("CONNECTIONS"):
    _note(f"guarded {os.getpid()}")
    sys.addaudithook(_look)
"""   # sitecustomize.py of the processes of the tiny run: what they connect to outside this machine goes to a file
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
GENERANK = str(Path(sys.executable).with_name("generank"))


def pytest_configure(config): config.addinivalue_line("markers", "slow: a whole run or training")


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
            (folder/"guard").mkdir(exist_ok=True)
            (folder/"guard"/"sitecustomize.py").write_text(GUARD)
            path = os.pathsep.join([str(folder/"guard"), *filter(None, [os.environ.get("PYTHONPATH")])])
            env = {**os.environ, "PYTHONPATH": path, "CONNECTIONS": str(folder/"connections.txt"), "GENERANK_OFFLINE": "1"}
            done = subprocess.run([GENERANK, "run", "--profile", "tiny", "--out", "runs/tiny", "--resume"], cwd=folder, env=env, capture_output=True, text=True, timeout=600)
            assert done.returncode == 0, done.stderr
            printed.write_text(done.stdout)
    return folder/"runs"/"tiny", printed.read_text()
