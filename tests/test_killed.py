"""The real tiny run killed while it trains and while it answers: the same bytes, no stage done again, no process left behind.

Every other stage is killed by `make faults`, and begun and ended by tests/test_run.py; that all of them make the same bytes in another process is in tests/test_notebooks.py."""
import json
import os
import re
import shutil

import forked
from test_run import left, wait_for

STARTUP = '''
def halt(moment, file):
    "Halt this kernel in the middle of its work, at the call of module:name:calls before it: it tells its process to the file, and sleeps."
    import functools, importlib, os, time
    module, name, before = moment.split(":")
    *path, name = name.split(".")
    owner, calls = functools.reduce(getattr, path, importlib.import_module(module)), [0]
    function = getattr(owner, name)
    @functools.wraps(function)
    def halting(*args, **kwargs):
        calls[0] += 1
        if calls[0] == int(before) + 1:
            with open(f"{file}.part", "w") as f: f.write(str(os.getpid()))
            os.rename(f"{file}.part", file)
            time.sleep(300)
        return function(*args, **kwargs)
    setattr(owner, name, halting)

import os
if os.environ.get("MOMENT"): halt(os.environ["MOMENT"], os.environ["FILE"])
del halt
'''
MOMENTS = {   # execution -> where its kernel is caught: some of the work done, some not
    "grpo/grpo-rank": "generank.groups:_draw:14",                    # within the second step's answers
    "inference": "generank.store:ResponseStore.add:2",               # some answers are stored
}
COMMAND = ["run", "--profile", "tiny", "--out", "runs/tiny", "--resume"]
ARMS = ("zero-shot", "warm-start", "grpo-rank")


def results(run):
    "What must not depend on how often a run was killed: the bytes of metrics, comparisons and answers, the figures' tables, the weights and their settings."
    files = ["evaluation/metrics.json", "evaluation/comparisons.json", "evaluation/robustness.json", "data/loci.parquet", *(f"responses/{a}.parquet" for a in ARMS)]
    files += [p.relative_to(run).as_posix() for pattern in ("probes/*/*.parquet", "evaluation/figures/*.csv", "models/*/adapter_*") for p in sorted(run.glob(pattern))]
    return {name: (run/name).read_bytes() for name in files}


def differing(a, b):
    a, b = results(a), results(b)
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


def stages(run): return json.loads((run/"manifest.json").read_text())["stages"]


def of(execution, units):
    "The units of the manifest that one execution does."
    return {u: r for u, r in units.items() if u == execution or u.startswith(f"{execution}/")}


def begun(tiny_run, folder):
    "A copy of the finished run as it was before its GRPO training."
    shutil.copytree(tiny_run/"data", folder/"data")
    shutil.copytree(tiny_run/"models"/"warm-start", folder/"models"/"warm-start")
    shutil.copy2(tiny_run/"config.yaml", folder)
    manifest = json.loads((tiny_run/"manifest.json").read_text())
    manifest["stages"] = {u: r for u, r in manifest["stages"].items() if u in ("data", "grpo/warm-start")}
    (folder/"manifest.json").write_text(json.dumps(manifest))
    return manifest["stages"]


def test_a_run_killed_as_it_trains_and_answers_ends_as_if_it_had_not_been(tiny_run, tmp_path):
    "Against the run that was left alone, in another folder, and with another order of sets."
    (tmp_path/"ipython/profile_default/startup").mkdir(parents=True)
    (tmp_path/"ipython/profile_default/startup/halt.py").write_text(STARTUP)
    marker, run = tmp_path/"kernel.txt", tmp_path/"runs/tiny"
    finished = begun(tiny_run[0], run)
    env = {**os.environ, "IPYTHONDIR": str(tmp_path/"ipython"), "FILE": str(marker), "RUN_OF_THE_TEST": str(tmp_path), "PYTHONHASHSEED": "7"}
    for execution, moment in MOMENTS.items():
        process = forked.Forked(COMMAND, cwd=tmp_path, env={**env, "MOMENT": moment})
        wait_for(marker.exists, process)
        kernel = int(marker.read_text())
        assert {process.pid, kernel} <= {p.pid for p in left(str(tmp_path))}
        process.kill()
        said = process.communicate()[1]
        wait_for(lambda: not left(str(tmp_path)), seconds=30)
        now = stages(run)
        assert of(execution, now) and {r["status"] for r in of(execution, now).values()} == {"interrupted"}, said
        assert {u: now[u] for u in finished} == finished, "what was finished has been done again"
        finished = {u: r for u, r in now.items() if r["status"] == "done"}
        marker.unlink()
    done = forked.run(*COMMAND, cwd=tmp_path, env=env)
    assert done.returncode == 0 and done.stdout == "runs/tiny/site/index.html\n", done.stderr
    assert not left(str(tmp_path))
    assert differing(run, tiny_run[0]) == []
    assert {u: stages(run)[u] for u in finished} == finished and {r["status"] for r in stages(run).values()} == {"done"}
    log = (run/"run.log").read_text()
    assert re.findall(r"\d/6 (\S+): done in ", log) == ["grpo/grpo-rank", "inference", "evaluation", "report"], "each execution ends once"
    starts = {u: len(re.findall(rf" \d/6 {u}: (?:not done yet|it was interrupted)", log)) for u in stages(run)}
    assert starts == {u: 0 if u in ("data", "grpo/warm-start") else 2 if u.startswith(("grpo", "inference")) else 1 for u in stages(run)}, "what was killed is begun twice"
