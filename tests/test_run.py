"""`generank run` as a reader meets it: interrupted, killed, failing, misused; and the whole of it at tiny size."""
import json
import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import nbformat
import pandas as pd
import psutil
import pytest

import forked
from forked import Forked
from generank.core import UserError

ROOT = Path(__file__).resolve().parents[1]
GENERANK = str(Path(sys.executable).with_name("generank"))
PLANTED = "hf_planted0secret0value"
PARAMETERS = 'profile = run_dir = ""\narms = []\noverrides = {}'
BODY = """
import json, os, sys, time
from pathlib import Path
from generank.profile import open_settings
run_dir, config, arms = open_settings(profile, run_dir, arms, overrides)
def write(name, value):
    (run_dir/name).parent.mkdir(parents=True, exist_ok=True)
    (run_dir/name).write_text(str(value))
def call(name):
    if "RUN_OF_THE_TEST" in os.environ: assert os.environ["HF_TOKEN"] and os.environ["WANDB_API_KEY"]   # the secrets that no file may hold
    with open(os.environ["CALLS"], "a") as f: f.write(name + "\\n")
    if os.environ.get("SLOW") == name:
        Path(os.environ["CALLS"] + ".kernel").write_text(str(os.getpid()))
        try: time.sleep(120)
        except KeyboardInterrupt:
            time.sleep(0.2)
            Path(os.environ["CALLS"] + ".saved").write_text("in time")
            raise
    if os.environ.get("FILL") == name: write('models/big', 'x' * 10_000_000)
    if os.environ.get("FAIL") == name: raise ValueError("matrix is singular")
    if os.environ.get("WRONG") == name:
        from generank.core import UserError
        raise UserError("Locus L7 has no causal gene: correct line 8.")
"""
STAGES = {  # miniature stages: each notes its call, then writes what the real one would
    "13_data": "call('data'); write('data/loci.parquet', config['data']['limit']); write('data/card.json', '{}')",
    "34_grpo": "for a in arms: call(a); write(f'models/{a}/adapter_model.safetensors', config['seed']); write(f'models/{a}/training.json', '{}')",
    "42_inference": "call('inference')\nfor a in arms: write(f'responses/{a}.parquet', (run_dir/'data'/'loci.parquet').read_text() + a)",
    "55_evaluation": "call('evaluation'); write('evaluation/metrics.json', json.dumps(config['evaluation'])); print(sys.executable, run_dir.resolve())",
    "index": "call('report')",
}


@pytest.fixture(scope="session")
def notebooks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nbs")
    for name, body in STAGES.items():
        cell = nbformat.v4.new_code_cell
        cells = [nbformat.v4.new_markdown_cell(f"# {name}"), cell(PARAMETERS, metadata={"tags": ["parameters"]}), cell(BODY),
                 cell("1/0", metadata={"tags": ["test"]}), cell(body)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}), folder/f"{name}.ipynb")
    return folder


class Mini:
    "A run of the miniature stages in a folder of its own."
    def __init__(self, folder, notebooks):
        self.folder, self.out, self.calls_file = folder, folder/"runs"/"mini", folder/"calls.txt"
        self.env = {**os.environ, "GENERANK_NBS": str(notebooks), "CALLS": str(self.calls_file), "HF_TOKEN": PLANTED, "WANDB_API_KEY": PLANTED, "RUN_OF_THE_TEST": str(folder)}

    def run(self, *arguments, first=None, **env):
        self.calls_file.write_text("")
        return forked.run("run", *arguments, cwd=self.folder, env={**self.env, **env}, first=first)

    def start(self, *arguments, **env):
        "Start a run, in a process group of its own as a terminal does, and wait until its slow stage works; the process and its kernel's id."
        self.calls_file.write_text("")
        marker = Path(f"{self.calls_file}.kernel")
        marker.unlink(missing_ok=True)
        process = Forked(["run", *arguments], cwd=self.folder, env={**self.env, **env})
        wait_for(lambda: marker.exists() and marker.read_text(), process)
        return process, int(marker.read_text())

    def calls(self): return self.calls_file.read_text().split()

    def left(self): return left(str(self.folder))


def wait_for(condition, process=None, seconds=150):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.1)


def gone(pid):
    "Whether a process has ended; one that only waits to be collected has."
    try: return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess: return True


def left(mark):
    "The processes that a run has left behind, or still has: those with its mark in their environment, or that work in that folder."
    found = []
    for process in psutil.process_iter():
        try:
            if mark in (process.environ().get("RUN_OF_THE_TEST"), process.cwd()) and not gone(process.pid): found.append(process)
        except (psutil.Error, OSError): pass
    return found


@pytest.fixture
def mini(tmp_path, notebooks): return Mini(tmp_path, notebooks)


TINY = ("--profile", "tiny", "--out", "runs/mini")
ALL = ["data", "warm-start", "grpo-rank", "inference", "evaluation", "report"]


def test_a_killed_run_continues_at_the_unfinished_stage(mini):
    process, kernel = mini.start(*TINY, SLOW="grpo-rank")
    assert kernel in {p.pid for p in mini.left()}, "a process that is left would be seen"
    refused = mini.run(*TINY, "--resume")
    assert refused.returncode == 2 and "Another process is working in runs/mini" in refused.stderr
    process.kill()
    process.communicate()
    wait_for(lambda: not mini.left(), seconds=30)

    unflagged = mini.run(*TINY)
    assert unflagged.returncode == 2 and "add --resume to continue it" in unflagged.stderr
    done = mini.run(*TINY, "--resume")
    assert (done.returncode, mini.calls()) == (0, ALL[2:]), done.stderr
    assert done.stdout == "runs/mini/site/index.html\n" and (mini.out/"site"/"index.html").exists()
    assert "2/6 grpo/warm-start: unchanged, skipped" in done.stderr and "3/6 grpo/grpo-rank: it was interrupted" in done.stderr
    again = mini.run(*TINY, "--resume", "--json")
    told = json.loads(again.stdout)
    assert (again.returncode, mini.calls(), told["run"], told["state"], told["report"]) == (0, [], "runs/mini", "done", "runs/mini/site/index.html")

    manifest = json.loads((mini.out/"manifest.json").read_text())
    assert all(s["status"] == "done" and s["seconds"] > 0 and s["artefacts"] for s in manifest["stages"].values())
    assert manifest["packages"]["trl"] and manifest["hardware"]["cores"] and manifest["dataset"]["loci_sha256"]
    for path in (p for p in mini.out.rglob("*") if p.is_file()):
        text = path.read_text(encoding="utf-8")
        assert PLANTED not in text, f"a secret stands in {path}"
        assert str(mini.folder) not in text and sys.prefix not in text, f"a path of this machine stands in {path}"
    assert not list(mini.out.rglob(".*tmp")) and not (mini.out/".progress.json").exists()


@pytest.mark.parametrize("stage, stop", [("data", lambda p: p.send_signal(signal.SIGINT)), ("data", lambda p: p.send_signal(signal.SIGTERM)),
                                         ("warm-start", lambda p: os.killpg(p.pid, signal.SIGINT))], ids=["SIGINT", "SIGTERM", "Ctrl-C in a terminal"])
def test_a_stopped_run_says_how_to_continue(mini, stage, stop):
    process, kernel = mini.start(*TINY, SLOW=stage)
    stop(process)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 1 and not mini.left() and Path(f"{mini.calls_file}.saved").exists(), "the kernel is let save"
    assert err.endswith("Stopped; what is finished is kept.\nContinue with: generank run --out runs/mini --resume\n"), err
    plan = mini.run("--out", "runs/mini", "--resume", "--dry-run").stdout.splitlines()
    assert plan[0] == "runs/mini: profile tiny, seed 1, model random-llama" and f"{stage} run: it was interrupted" in [" ".join(line.split()).removeprefix("grpo/") for line in plan]


def test_a_failing_cell_is_named_and_a_user_error_is_passed_on(mini):
    failed = mini.run(*TINY, FAIL="data")
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-2:] == ["Error: Cell [4] of runs/mini/notebooks/13_data.ipynb (`call('data'); write('data/loci.parquet', config['data']['limit']); write('data/c`) "
                                               "failed: ValueError: matrix is singular", "Continue with: generank run --out runs/mini --resume"]
    assert "Traceback" not in failed.stderr and "matrix is singular" in (mini.out/"run.log").read_text()
    wrong = mini.run(*TINY, "--resume", WRONG="data")
    assert (wrong.returncode, wrong.stderr.splitlines()[-1]) == (2, "Error: Locus L7 has no causal gene: correct line 8.")
    debug = mini.run(*TINY, "--resume", "--debug", FAIL="data")
    assert debug.returncode == 1 and "Traceback" in debug.stderr


def test_the_notebooks_must_be_there(mini):
    missing = mini.run(*TINY, GENERANK_NBS=str(mini.folder/"nowhere"))
    assert missing.returncode == 2 and missing.stderr.count("\n") == 1
    assert "lacks the stage notebook 13_data.ipynb: install generank from a clone" in missing.stderr
    assert not mini.out.exists()


@pytest.fixture
def small_disk(tmp_path, request):
    "A disk of so many KiB where one may be mounted, else a limit on the size of files; its folder, and what a child process does first."
    disk, (size, limit) = tmp_path/"disk", request.param
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(disk)], capture_output=True).returncode == 0
    yield disk, (None if mounted else partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit)))
    if mounted: subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("small_disk, fill", [((64, 12_000), ""), ((4096, 4_000_000), "warm-start")], indirect=["small_disk"], ids=["by the run", "in a notebook"])
def test_a_full_disk_is_one_sentence(mini, small_disk, fill):
    disk, first = small_disk
    full = mini.run("--profile", "tiny", "--out", str(disk/"run"), first=first, FILL=fill)
    said = full.stderr.splitlines()
    assert full.returncode == 1 and said[-2].startswith("Error: There is no room left on the disk") and said[-1].startswith("Continue with: generank run --out"), full.stderr
    assert "Traceback" not in full.stderr and (not fill or mini.calls() == ALL[:2])


@pytest.fixture
def shut(tmp_path):
    "A folder that can't be written to; for root, who may write in any other, one of the system's."
    if os.geteuid() == 0: (tmp_path/"shut").symlink_to("/sys" if sys.platform == "linux" else "/System")
    else: (tmp_path/"shut").mkdir(0o555)


def test_a_folder_that_can_not_be_written_to_is_one_sentence(mini, shut):
    wrong = mini.run("--profile", "tiny", "--out", "shut/run")
    assert wrong.returncode == 1 and wrong.stderr.splitlines()[-1].startswith("Error: shut/run can't be written to ("), wrong.stderr
    assert "Traceback" not in wrong.stderr and mini.calls() == []


@pytest.mark.parametrize("out", ["file/run", "/proc/version/run"])
def test_a_place_that_can_not_be_written_to_is_one_sentence(mini, out):
    (mini.folder/"file").write_text("mine")
    wrong = mini.run("--profile", "tiny", "--out", out)
    assert wrong.returncode == 1 and wrong.stderr.splitlines()[-1] == f"Error: {out} can't be written to (Not a directory): look at its permissions, or choose another --out."
    assert (mini.folder/"file").read_text() == "mine"


def test_without_a_kernel_a_run_says_so(mini):
    (mini.folder/"fake").mkdir()
    (mini.folder/"fake"/"ipykernel_launcher.py").write_text("raise ModuleNotFoundError(\"No module named 'ipykernel'\")\n")
    path = os.pathsep.join([str(mini.folder/"fake"), *filter(None, [os.environ.get("PYTHONPATH")])])
    none = subprocess.run([GENERANK, "run", *TINY], cwd=mini.folder, env={**mini.env, "PYTHONPATH": path}, capture_output=True, text=True, timeout=100)   # its kernels are started, not forked
    assert none.returncode == 1 and none.stderr.splitlines()[-2].startswith("Error: The kernel of runs/mini/notebooks/13_data.ipynb did not start ("), none.stderr
    assert "No module named 'ipykernel'" in (mini.out/"run.log").read_text()


def test_a_kernel_that_dies_is_one_sentence_and_the_run_continues(mini):
    process, kernel = mini.start(*TINY, SLOW="warm-start")
    os.kill(kernel, signal.SIGKILL)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 1 and err.splitlines()[-2].startswith("Error: The kernel of runs/mini/notebooks/34_grpo.warm-start.ipynb died"), err
    assert mini.run(*TINY, "--resume").returncode == 0 and mini.calls() == ALL[1:]


def test_the_tiny_run_is_whole(tiny_run):
    run, printed = tiny_run
    for name in ("config.yaml", "manifest.json", "notebooks/13_data.ipynb", "notebooks/34_grpo.grpo-rank.ipynb", "notebooks/42_inference.ipynb", "notebooks/55_evaluation.ipynb",
                 "data/loci.parquet", "data/card.json", "models/warm-start/metrics.jsonl", "models/grpo-rank/adapter_model.safetensors", "models/grpo-rank/metrics.jsonl",
                 "models/grpo-rank/training.json", "responses/zero-shot.parquet", "responses/grpo-rank.parquet", "probes/grpo-rank/again.parquet", "probes/zero-shot/representations.parquet",
                 "evaluation/metrics.json", "evaluation/comparisons.json", "evaluation/robustness.json", "site/index.html"):
        assert (run/name).is_file(), name
    assert list((run/"evaluation"/"figures").glob("*.svg")) and list((run/"evaluation"/"figures").glob("*.csv"))
    metrics = json.loads((run/"evaluation"/"metrics.json").read_text())
    assert {"zero-shot", "warm-start", "grpo-rank", "grpo-rank, traits shuffled", "random order", "list order", "nearest gene", "most studied", "nearest gene + grpo-rank"} <= {r["name"] for r in metrics["runs"]}
    assert printed.strip().endswith("runs/tiny/site/index.html")


def test_the_tiny_run_names_no_machine(tiny_run):
    run, _ = tiny_run
    for path in (p for p in run.rglob("*") if p.suffix in (".json", ".yaml", ".ipynb", ".log", ".jsonl", ".html", ".csv") and "checkpoint" not in str(p)):
        text = path.read_text(encoding="utf-8")
        for place in {str(ROOT), sys.prefix, str(run.parent.parent)}: assert place not in text, f"{place} stands in {path}"


def test_a_finished_tiny_run_is_not_repeated(tiny_run):
    run, _ = tiny_run
    plan = forked.run("run", "--profile", "tiny", "--out", "runs/tiny", "--resume", "--dry-run", cwd=run.parent.parent)
    assert plan.returncode == 0 and [line.split()[-1] for line in plan.stdout.splitlines()[1:9]] == ["skip"] * 8, plan.stdout
    assert plan.stdout.splitlines()[9] == "nothing is left to do"


def test_a_recorded_run_is_evaluated_anew_to_the_same_numbers(tiny_run, tmp_path):
    from record import record, reevaluate
    recorded = record(tiny_run[0], tmp_path/"results")
    assert [p.name for p in (recorded/"models"/"warm-start").iterdir()].count("adapter_model.safetensors") == 0
    for name in ("adapter_model.safetensors", "site", "notebooks"): assert not list(recorded.rglob(name))
    with pytest.raises(UserError, match="is not a finished run"): record(tmp_path/"nothing", tmp_path/"results")
    with pytest.raises(UserError, match="is not a recorded run"): reevaluate(tmp_path/"nothing")
    before = {name: (recorded/"evaluation"/name).read_text() for name in ("metrics.json", "comparisons.json", "robustness.json")}
    (recorded/"evaluation/metrics.json").write_text("{}")
    reevaluate(recorded)
    assert {name: (recorded/"evaluation"/name).read_text() for name in before} == before
    manifest = json.loads((recorded/"manifest.json").read_text())
    assert manifest["reevaluated"]["at"] and manifest["stages"] == json.loads((tiny_run[0]/"manifest.json").read_text())["stages"]


def test_a_readers_own_loci_are_ranked_as_the_adapters_run_asks(tiny_run, tmp_path):
    "The adapter of the tiny run ranks two loci without labels, in the profile of that run, and says that it was not measured."
    (tmp_path/"mine.csv").write_text("trait,chrom,pos\nLDL cholesterol,5,75360714\ntype 2 diabetes,10,112998590\n")
    done = forked.run("rank", "mine.csv", "--adapter", tiny_run[0]/"models"/"grpo-rank", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "mine.ranked.csv\n"), done.stderr
    assert "random-llama with" in done.stderr and "This model was not measured: what it says is uncalibrated" in done.stderr
    genes = pd.read_csv(tmp_path/"mine.ranked.csv")
    assert {"HMGCR", "TCF7L2"} <= set(genes.gene) and list(genes.trait.unique()) == ["LDL cholesterol", "type 2 diabetes"]
    assert {"trait", "gene", "rank", "probability", "nearest", "distance"} <= set(genes)
    made = {f"mine.ranked.{e}" for e in ("csv", "loci.csv", "html", "manifest.json", "answers.jsonl")} | {"mine.csv"}
    assert {p.name for p in tmp_path.iterdir() if not p.name.startswith(".")} == made
