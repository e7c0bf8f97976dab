"""Faults at random points of a run; afterwards the same command must end with the bytes of a run that was left alone (`make faults`).

`python tests/faults.py stub 500`: so many faults in each stage of the real pipeline, each stage's work replaced by its writing alone, with the
library's own writers, in a process that stands for the kernel. `python tests/faults.py tiny 50`, `... laptop 6`: the real command, in rounds of
five faults. One line of JSON a fault goes to --out, and the same command with the same --out goes on where it was stopped. `python tests/faults.py
table --out FILE...` prints the rows of tests/README.md. tests/test_faults.py runs a few of the first kind.
"""
import argparse
import contextlib
import ctypes
import errno
import hashlib
import importlib.util
import json
import mmap
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

from tqdm import tqdm

GENERANK = str(Path(sys.executable).with_name("generank"))
FAULTS = {   # what is done at the point; "then": what is done to the folder after the run has ended
    "kill": "SIGKILL to the run", "term": "SIGTERM to the run", "dead": "SIGKILL to the kernel", "full": "the disk is full from then on",
    "readonly": "the folder can't be written to from then on", "clock": "the clock jumps by days, file times too", "parquet": "SIGKILL, and a parquet file cut off",
    "torn": "SIGKILL, and the last line of a JSONL file torn", "checkpoint": "SIGKILL, and a file of a checkpoint or of weights damaged",
    "suspend": "SIGSTOP, a second run, SIGCONT", "two": "a second run on the folder"}
PARQUET, LINES, WEIGHTS = "**/*.parquet", "**/*.jsonl", "models/**/*"


def damage(run, kind, rng):
    "Damage one file of a run folder as a fault of this kind leaves it; the file's name, None where there is none of its kind."
    pattern = {"parquet": PARQUET, "torn": LINES, "checkpoint": WEIGHTS}.get(kind)
    files = [p for p in sorted(run.glob(pattern)) if p.is_file() and p.stat().st_size > 1 and p.suffix not in (".md", ".lock")] if pattern else []
    if kind == "checkpoint": files = [p for p in files if "checkpoints" in p.parts or p.suffix == ".safetensors"]
    if not files: return None
    path = rng.choice(files)
    data = path.read_bytes()
    if kind == "parquet": data = data[:rng.randrange(len(data))]
    if kind == "torn":
        end = data.rstrip(b"\n").rfind(b"\n") + 1
        data = data[:rng.randrange(end, len(data))]
    if kind == "checkpoint":
        at = rng.randrange(len(data))
        data = data[:at] + (bytes([data[at] ^ 0xFF]) + data[at + 1:] if rng.random() < 0.5 else b"")
    path.write_bytes(data)
    return path.relative_to(run).as_posix()


# The stub: the real pipeline, and of each stage its writing

def stub_stages():
    "Notebook -> a function of run folder and arms that writes what the stage would, as the stage would, and goes on where it was stopped."
    import numpy as np
    import pandas as pd
    from safetensors.numpy import load_file, save_file

    from generank import checkpoints
    from generank.core import write_json, write_text
    from generank.genes import write_parquet
    from generank.inference import save_answers
    from generank.store import ResponseStore
    for name, needed in (("torch", {}), ("transformers", {"TrainerCallback": object})):   # callback and seal need no more of them, and a small process forks fast
        sys.modules[name] = SimpleNamespace(**needed, __spec__=importlib.util.find_spec(name))
    checkpoints.time = SimpleNamespace(perf_counter=lambda: 0.0)   # the only number in its files that is not the same each time

    def data(run, arms):
        loci = [{"locus_id": f"L{i}", "split": ("train", "test")[i % 2], "trait": f"trait {i}", "candidates": ["A1", "B2"], "causal_gene": "A1"} for i in range(8)]
        write_parquet(pd.DataFrame(loci), run/"data"/"loci.parquet")
        write_json(run/"data"/"card.json", {"loci": len(loci)})

    def grpo(run, arms):
        for arm in arms:
            folder = run/"models"/arm
            if checkpoints.finished(folder): continue
            folder.mkdir(parents=True, exist_ok=True)
            weights, state = {"w": np.full(64, len(arm), dtype="float64")}, SimpleNamespace(global_step=0, max_steps=6, is_world_process_zero=True, best_model_checkpoint=None)
            if found := checkpoints.newest_checkpoint(folder/"checkpoints"):
                state.global_step, weights = int(found.name.split("-")[1]), load_file(found/"model.safetensors")
            trainer = SimpleNamespace(args=SimpleNamespace(output_dir=str(folder/"checkpoints"), save_total_limit=2, should_save=True, process_index=0),
                                      state=state, is_grpo=False, accelerator=SimpleNamespace(wait_for_everyone=lambda: None))
            def save():
                here = checkpoints.checkpoint_now(trainer)
                here.mkdir(parents=True, exist_ok=True)
                save_file(weights, here/"model.safetensors")
                (here/"trainer_state.json").write_text(json.dumps({"step": state.global_step}))
            logged = checkpoints.metrics_callback(folder/"metrics.jsonl", "grpo", arm)
            logged.on_train_begin(trainer.args, state, None)
            while state.global_step < state.max_steps:
                weights["w"] = weights["w"] * 1.5 + state.global_step
                state.global_step += 1
                logged.on_step_end(None, state, None)
                logged.on_log(None, state, None, {"reward": float(weights["w"][0]) % 1})
                if state.global_step % 2 == 0: checkpoints.save_sealed(trainer, save)
            with tempfile.TemporaryDirectory(dir=folder, prefix=".", suffix=".tmp") as t:
                save_file(weights, Path(t)/"adapter_model.safetensors")
                os.replace(Path(t)/"adapter_model.safetensors", folder/"adapter_model.safetensors")
            write_json(folder/"adapter_config.json", {"r": 4})
            write_text(folder/"README.md", arm)
            write_json(folder/"training.json", {"steps": state.global_step, **checkpoints.file_hashes(folder)})

    def inference(run, arms):
        loci = pd.read_parquet(run/"data"/"loci.parquet")
        for arm in arms:
            with ResponseStore(run/"responses"/"store"/f"{arm}.jsonl") as kept:
                for locus in loci.locus_id:
                    if f"{arm}{locus}" not in kept.rows: kept.add([{"key": f"{arm}{locus}", "completion": f"<genes> [A1, B2] </genes> {locus}"}])
                rows = pd.DataFrame([{"locus_id": i, **kept.rows[f"{arm}{i}"]} for i in loci.locus_id])
            save_answers(rows, run/"responses"/f"{arm}.parquet")

    def evaluation(run, arms):
        answers = {p.stem: len(pd.read_parquet(p)) for p in sorted((run/"responses").glob("*.parquet"))}
        for name in ("main", "ranks"): write_text(run/"evaluation"/"figures"/f"{name}.csv", json.dumps(answers))
        for name in ("robustness", "comparisons", "metrics"): write_json(run/"evaluation"/f"{name}.json", answers)

    return {"13_data": data, "34_grpo": grpo, "42_inference": inference, "55_evaluation": evaluation}


def report(run):
    from generank.core import write_text
    write_text(Path(run)/"site"/"index.html", (Path(run)/"evaluation"/"metrics.json").read_text())


class Stub:
    "Runs of the stub below one folder. Each is a child process: points at which files change are counted in it, and a fault happens at one of them."
    WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}

    def __init__(self, folder):
        import nbformat

        from generank import cli, execution, pipeline
        self.folder, self.notebooks, self.stages = Path(folder), Path(folder)/"nbs", stub_stages()
        self.notebooks.mkdir(parents=True)
        for name in (*self.stages, "index"):
            cell = nbformat.v4.new_code_cell("profile = ''", metadata={"tags": ["parameters"]})
            nbformat.write(nbformat.v4.new_notebook(cells=[cell]), self.notebooks/f"{name}.ipynb")
        for name in ("git_state", "packages", "hardware"):   # looked at once: several processes a writing of the manifest
            setattr(execution, name, lambda found=getattr(execution, name)(): found)
        known, sha256_file = {}, execution.sha256_file   # the library's own files are hashed once, in the process that all others are copies of
        def hashed(path):
            if str(path).startswith(str(self.folder)): return sha256_file(path)
            return known.get(path) or known.setdefault(path, sha256_file(path))
        execution.sha256_file = hashed
        run = pipeline.open_run("tiny", self.folder/"none", notebooks=self.notebooks)
        for unit in run.units(): pipeline.parts_of(run, unit)   # the code is hashed once, too
        pipeline.execute = self.execute
        group = pipeline._execute_group
        def noted(run, units, *args, **kwargs):
            self.stage = str(units[0]) if units[0].stage == "grpo" else units[0].stage
            return group(run, units, *args, **kwargs)
        pipeline._execute_group = noted
        self.shared = mmap.mmap(-1, 64)   # of all processes: the kernel's id, the errno of every writing, how far the clock has jumped
        self.stage = self.who = self.run = self.fault = self.points = self.place = None
        sys.addaudithook(self.audit)
        fsync = os.fsync
        def counted(fd):
            self.point()
            fsync(fd)
        os.fsync = counted
        clock = time.time
        time.time = lambda: clock() + self.get(2) * 86400
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)   # PR_SET_CHILD_SUBREAPER: kernels whose run was killed are waited for here

    def get(self, i): return int.from_bytes(self.shared[8 * i:8 * i + 8], "little", signed=True)
    def set(self, i, value): self.shared[8 * i:8 * i + 8] = int(value).to_bytes(8, "little", signed=True)

    def audit(self, event, args):
        if self.place is None or (event != "open" and event not in self.EVENTS): return
        if event == "open" and not (len(args) > 2 and (args[2] or 0) & self.WRITES): return
        if isinstance(args[0], (str, os.PathLike)) and str(args[0]).startswith(self.place): self.point(event)

    def point(self, event="fsync"):
        "A point at which a file changes: counted, and the fault's own is where it happens."
        if self.place is None: return
        here = (self.stage or "start", self.who)
        self.counts[here] += 1
        if self.points is not None:
            with open(self.points, "a") as f: f.write(json.dumps(here) + "\n")
        if self.fault and (*here, self.counts[here]) == self.fault[1:]: self.happen(self.fault[0])
        if (number := self.get(1)) and (event in ("open", "os.mkdir", "fsync") or number == errno.EROFS): raise OSError(number, os.strerror(number))

    def happen(self, kind):
        self.set(3, 1)
        if kind in ("kill", "parquet", "torn", "checkpoint"):
            os.kill(self.pid, signal.SIGKILL)
            time.sleep(60)   # the kernel, until its end
        if kind == "term": os.kill(self.pid, signal.SIGTERM)
        if kind == "dead": os.kill(self.get(0) or self.pid, signal.SIGKILL)
        if kind in ("full", "readonly"): self.set(1, errno.ENOSPC if kind == "full" else errno.EROFS)
        if kind == "clock":
            self.set(2, random.choice([-4000, -3, 3, 4000]))
            for p in (p for p in self.run.rglob("*") if p.is_file() and p.name != ".lock"):
                with contextlib.suppress(OSError): os.utime(p, (time.time(), time.time()))
        if kind in ("suspend", "two"):
            if kind == "suspend" and self.who == "kernel": os.kill(self.pid, signal.SIGSTOP)
            os.kill(os.getpid() if kind == "suspend" else self.pid, signal.SIGSTOP)   # "two": the run waits for the second one, its kernel works on

    def execute(self, notebook, output, parameters, run_dir, stop, cell_timeout=None, threads=None):
        "In place of papermill: a child process, the kernel, writes what the stage would."
        from generank.execution import STOPPED, Interrupted, RunFailed
        if stop.asked: raise Interrupted(STOPPED)
        heard, said = os.pipe()
        if not (kernel := os.fork()):
            try:
                ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)   # PR_SET_PDEATHSIG: ends with its run, as ipykernel does
                os.setsid()
                signal.signal(signal.SIGINT, signal.default_int_handler)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                self.who = "kernel"
                self.set(0, os.getpid())
                self.stages[notebook.stem](run_dir, parameters["arms"])
                os._exit(0)
            except BaseException as e:
                os.write(said, json.dumps([getattr(e, "errno", 0) or 0, f"{type(e).__name__}: {e}"]).encode())
                os._exit(1)
        os.close(said)
        stop.kernel = kernel
        try: status = os.waitpid(kernel, 0)[1]
        finally: stop.kernel = None
        self.set(0, 0)
        with open(heard) as f: why = f.read()
        if stop.asked: raise Interrupted(STOPPED)
        if os.WIFSIGNALED(status): raise RunFailed(f"The kernel of {notebook.name} died.")
        if status:
            number, words = json.loads(why)
            raise OSError(number, os.strerror(number)) if number else RunFailed(words)

    def start(self, out, fault=None, points=None, second=""):
        "Start `generank run --out OUT --resume` in a child; its process id."
        if pid := os.fork(): return pid
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)   # PR_SET_PDEATHSIG: none is left where the suite itself is stopped
        os.setpgid(0, 0)
        self.run, self.pid, self.fault, self.points, self.counts = Path(out), os.getpid(), fault, points, Counter()
        words = os.open(f"{out}.{second}said", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(words, 1), os.dup2(words, 2)
        code = 1
        try:
            from generank import cli, pipeline
            self.who, self.place = "run", str(out)
            try:
                pipeline.execute_run(pipeline.open_run("tiny", out, resume=True, notebooks=self.notebooks), render=report)
                code = 0
            except (Exception, KeyboardInterrupt) as e:
                message, code = cli.told(e)
                os.write(2, f"\nError: {message}\n".encode())
        finally: os._exit(code)

    def said(self, out, second=""): return Path(f"{out}.{second}said").read_text(errors="replace").strip().split("\n\n")[-1].strip()

    def wait(self, pid, out):
        "The exit code of a run (-9: killed); where it was suspended, a second run is tried in the meantime and must be refused."
        while True:
            _, status = os.waitpid(pid, os.WUNTRACED)
            if os.WIFSTOPPED(status):
                refused = os.waitstatus_to_exitcode(os.waitpid(self.start(out, second="second."), 0)[1])
                assert refused == 2 and "Another process is working in" in self.said(out, "second."), self.said(out, "second.")
                for process in filter(None, (pid, self.get(0))):
                    with contextlib.suppress(ProcessLookupError): os.kill(process, signal.SIGCONT)
                continue
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, 0)[0]: pass   # kernels that have outlived it
            return os.waitstatus_to_exitcode(status)

    def reset(self): self.shared[:] = bytes(64)

    def undisturbed(self):
        "What a run that is left alone makes, and its points by (stage, process)."
        self.reset()
        out, log = self.folder/"alone", self.folder/"points.txt"
        code = self.wait(self.start(out, points=str(log)), out)
        assert code == 0, self.said(out)
        self.expected = snapshot(out)
        self.counted = Counter(tuple(json.loads(line)) for line in log.read_text().splitlines())
        return self.expected

    def trial(self, kind, stage, rng, number):
        "One fault at a random point of a stage, then the same command until it ends well: a record; `lost` says what is not as it should be."
        self.reset()
        places = [(s, w, n) for (s, w), n in sorted(self.counted.items()) if s == stage and (kind != "dead" or w == "kernel" or stage == "report")]
        place, which, most = rng.choices(places, [n for *_, n in places])[0]
        fault, out = (kind, place, which, rng.randint(1, most)), self.folder/f"trial-{number}"
        random.seed(rng.random())
        code = self.wait(self.start(out, fault), out)
        record = {"fault": kind, "stage": stage, "point": f"{which} {fault[3]} of {most}", "code": code, "said": "" if code <= 0 else self.said(out)[-300:], "lost": ""}
        happened, _ = self.get(3), self.reset()
        record["damaged"] = damage(out, kind, rng)
        if not happened: record["lost"] = "the fault did not happen"
        expected = {"kill": {-9}, "parquet": {-9}, "torn": {-9}, "checkpoint": {-9}, "dead": {1, -9}, "term": {0, 1}, "full": {0, 1}, "readonly": {1}, "clock": {0}, "suspend": {0}, "two": {0}}[kind]
        if code not in expected: record["lost"] = f"exit code {code}"
        if code > 0 and (not record["said"].splitlines()[-1:] or "Traceback" in record["said"]): record["lost"] = "no sentence"
        ended = self.wait(self.start(out), out)
        if ended: record["lost"] = f"it does not go on: {self.said(out)[-300:]}"
        elif changed := differing(self.expected, snapshot(out)): record["lost"] = f"other bytes: {', '.join(changed[:5])}"
        if not record["lost"]: shutil.rmtree(out)
        return record


def plain_manifest(text):
    "A manifest without times: what was made, from what, and how it ended."
    manifest = json.loads(text)
    return {"stages": {name: {k: s.get(k) for k in ("status", "artefacts", "key", "made_from")} for name, s in manifest["stages"].items()}, "dataset": manifest.get("dataset"), "config": manifest["config_sha256"]}


def snapshot(run):
    """Every file of a run folder by name, as its sha256; the manifest without times.

    Left out: the log and the locks, and what a finished run needs no more: checkpoints (a stopped training has others) and the store of answers."""
    apart = lambda p: p.name == "run.log" or p.name.endswith(".lock") or "checkpoints" in p.parts or p.parent.name == "store"
    files = {p.relative_to(run).as_posix(): p for p in sorted(run.rglob("*")) if p.is_file() and (p.name.endswith(".tmp") or not apart(p))}
    return {name: json.dumps(plain_manifest(p.read_text()), sort_keys=True) if name == "manifest.json" else hashlib.sha256(p.read_bytes()).hexdigest() for name, p in files.items()}


def differing(a, b): return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


def stub(count, seed, folder, write, stages=None, kinds=tuple(FAULTS), runs=None, done=(), part=(0, 1)):
    """`count` faults in every stage, each told to `write`; the `Stub`, for more of them.

    Left out: those whose (stage, number) is in `done`, and with `part` (i, n) all but every nth."""
    if runs is None:
        runs = Stub(folder)
        runs.undisturbed()
    for at, stage in enumerate(stages or sorted({s for s, _ in runs.counted} - {"start"})):
        for number in range(part[0], count, part[1]):
            if (stage, number) in done: continue
            kind = kinds[(number + at * count + 1) % len(kinds)]
            write({**runs.trial(kind, stage, random.Random(f"{seed} {stage} {number}"), f"{at}-{number}"), "number": number})
    return runs


# The real command, disturbed from outside

CLOCK = r'''
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long jump(void) { long s = 0; char *name = getenv("CLOCK_JUMP"); FILE *f = name ? fopen(name, "r") : 0; if (f) { if (fscanf(f, "%ld", &s) != 1) s = 0; fclose(f); } return s; }
int clock_gettime(clockid_t id, struct timespec *t) { static int (*real)(clockid_t, struct timespec *); if (!real) real = dlsym(RTLD_NEXT, "clock_gettime"); int r = real(id, t); if (!r && id == CLOCK_REALTIME) t->tv_sec += jump(); return r; }
int gettimeofday(struct timeval *restrict t, void *restrict z) { struct timespec now; int r = clock_gettime(CLOCK_REALTIME, &now); t->tv_sec = now.tv_sec; t->tv_usec = now.tv_nsec / 1000; return r; }
time_t time(time_t *t) { struct timespec now; clock_gettime(CLOCK_REALTIME, &now); if (t) *t = now.tv_sec; return now.tv_sec; }
'''


def shell(*command): return subprocess.run(command, capture_output=True, text=True).returncode == 0


def results(run):
    "What no disturbance may change: loci, answers, weights and their settings, metrics, comparisons, the figures' tables."
    patterns = ("data/*.parquet", "responses/*.parquet", "probes/*/*.parquet", "models/*/adapter_*", "evaluation/*.json", "evaluation/figures/*.csv")
    return {p.relative_to(run).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for pattern in patterns for p in sorted(run.glob(pattern))}


class Round:
    "One run folder on a small disk of its own, the command's processes there, and faults upon them."
    open = []   # for a suite that is stopped
    def __init__(self, folder, command, size="600m"):
        self.folder, self.run, self.command = folder, folder/"disk"/"run", command
        self.run.mkdir(parents=True)
        self.open.append(self)
        self.mounted = shell("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder/"disk"))
        self.run.mkdir(exist_ok=True)
        (folder/"clock.c").write_text(CLOCK)
        self.clock = shell("gcc", "-shared", "-fPIC", "-o", str(folder/"clock.so"), str(folder/"clock.c"), "-ldl")
        self.env = {**os.environ, "RUN_OF_THE_TEST": str(folder), "CLOCK_JUMP": str(folder/"jump"), **({"LD_PRELOAD": str(folder/"clock.so")} if self.clock else {})}

    def start(self):
        self.log = (self.run/"run.log").stat().st_size if (self.run/"run.log").exists() else 0
        with open(self.folder/"said.txt", "w") as said:
            return subprocess.Popen([*self.command, "--out", "disk/run", "--resume"], cwd=self.folder, env=self.env, stdout=said, stderr=said, start_new_session=True)

    def begun(self, process):
        "Wait until the run holds its folder (before that, a fault has nothing to hit); False where it has ended."
        while process.poll() is None:
            if (self.run/"run.log").exists() and (self.run/"run.log").stat().st_size > self.log: return True
            time.sleep(0.1)
        return False

    def processes(self):
        import psutil
        found = []
        for p in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if p.environ().get("RUN_OF_THE_TEST") == str(self.folder) and p.status() != psutil.STATUS_ZOMBIE: found.append(p)
        return found

    def kernels(self, process): return [p for p in self.processes() if p.pid != process.pid and "ipykernel_launcher" in " ".join(p.cmdline())]

    def refused(self):
        second = subprocess.run([*self.command, "--out", "disk/run", "--resume"], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=300)
        return second.returncode == 2 and "Another process is working in" in second.stderr

    def ended(self, process, seconds):
        try: code = process.wait(seconds)
        except subprocess.TimeoutExpired: return None
        end = time.monotonic() + 60
        while self.processes() and time.monotonic() < end: time.sleep(0.2)
        return code

    def sentence(self):
        lines = (self.folder/"said.txt").read_text(errors="replace").strip().splitlines()
        return lines[-2:] if not any("Traceback" in line for line in lines) else []

    def happen(self, kind, process, rng):
        "Do it to the running command; whether the run must be started anew, and what is wrong already."
        wrong, damaged, filler = "", None, self.folder/"disk"/"filler"
        if kind in ("suspend", "two"):
            stopped = [process, *self.kernels(process)] if kind == "suspend" else []
            for p in stopped: os.kill(p.pid, signal.SIGSTOP)
            if not self.refused() and process.poll() is None: wrong = "a second run was not refused"
            for p in stopped: os.kill(p.pid, signal.SIGCONT)
            return False, wrong, None
        if kind == "clock":
            (self.folder/"jump").write_text(str(rng.choice([-4000, -3, 3, 4000]) * 86400))
            return False, wrong, None
        if kind == "full":
            with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as f:
                while f.write(bytes(1 << 16)): pass
        if kind == "readonly":
            if not (shell("mount", "--bind", str(self.run), str(self.run)) and shell("mount", "-o", "remount,bind,ro", str(self.run))): wrong = "no read-only mount"
        if kind == "term": process.terminate()
        kernels = self.kernels(process) if kind == "dead" else []
        for p in kernels: os.kill(p.pid, signal.SIGKILL)
        if kind in ("kill", "parquet", "torn", "checkpoint") or kind == "dead" and not kernels: process.kill()
        code = self.ended(process, 180)
        if kind == "readonly": shell("umount", str(self.run))
        filler.unlink(missing_ok=True)
        if code is None: wrong = "it did not end"
        elif code > 0 and not (len(said := self.sentence()) == 2 and said[1].startswith("Continue with: generank run")): wrong = f"no sentence: {said}"
        elif self.processes(): wrong = "processes are left"
        return code != 0, wrong, damage(self.run, kind, rng)

    def close(self):
        for p in self.processes(): p.kill()
        if self.mounted: shell("umount", "-l", str(self.folder/"disk"))
        self.open.remove(self)


def finish(there, tries=4):
    "Run the command until it ends well; its exit code."
    for _ in range(tries):
        if (code := there.ended(there.start(), 1500)) == 0: break
    return code


def disturbed(command, folder, rng, take, slowest, each, expected):
    "One run that suffers up to `each` faults, their kinds from `take`, at random moments up to `slowest` seconds after it began or went on: its records."
    there, records, process = Round(folder, command), [], None
    try:
        process = there.start()
        while process is not None and len(records) < each and there.begun(process):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0, slowest))
                break   # it has finished
            if (kind := take()) is None: break
            log = there.run/"run.log"
            if kind in ("full", "readonly") and not there.mounted or kind == "clock" and not there.clock: kind = "kill"
            place = next((re.sub(r"^.* \d/6 (\S+?):.*", r"\1", line) for line in reversed(log.read_text().splitlines()) if re.search(r" \d/6 \S+: ", line)), "start")
            again, wrong, damaged = there.happen(kind, process, rng)
            records.append({"fault": kind, "stage": place[:80], "damaged": damaged, "lost": wrong})
            process = there.start() if again else process if process.poll() is None else None
        code = 0 if process is None else there.ended(process, 1500)
        if code: code = finish(there)
        changed = differing(expected, results(there.run)) if code == 0 else [f"it does not end: {there.sentence()}"]
        left = [p.name for p in there.run.rglob(".*.tmp")]
    finally: there.close()
    if not changed: shutil.rmtree(there.folder, ignore_errors=True)
    return [{**r, "lost": r["lost"] or ", ".join([*changed, *left][:5])} for r in records]


def whole(command, count, seed, folder, write, slowest, each=5, kinds=tuple(FAULTS), done=(), jobs=1):
    "`count` faults to real runs, `each` to a run, `jobs` runs side by side; each is told to `write`, those of a run together. `done`: earlier records, which count."
    folder, lock, rounds = Path(folder), threading.Lock(), 1 + max((r["number"] for r in done), default=-1)
    order = random.Random(seed)
    owed = [kind for _ in range(count // len(kinds) + 1) for kind in order.sample(kinds, len(kinds))][:count]
    for kind in (r["asked"] for r in done):
        if kind in owed: owed.remove(kind)
    if not owed: return
    alone = Round(folder/"alone", command)
    try:
        assert finish(alone, 1) == 0, alone.sentence()
        expected = results(alone.run)
    finally: alone.close()
    def work():
        nonlocal rounds
        while True:
            with lock:
                if not owed: return
                number, taken, rounds = rounds, [], rounds + 1
            def take():
                with lock: kind = owed.pop(0) if owed else None
                if kind: taken.append(kind)
                return kind
            records = disturbed(command, folder/f"round-{number}", random.Random(f"{seed} {number}"), take, slowest, each, expected)
            with lock:
                for kind, record in zip(taken, records): write({**record, "asked": kind, "number": number})
    pool = ThreadPoolExecutor(jobs)   # without `with`, which would wait for the runs where the suite is stopped
    for worker in [pool.submit(work) for _ in range(jobs)]: worker.result()


PROFILES = {
    "tiny": ([GENERANK, "run", "--profile", "tiny"], 60),
    "laptop": ([GENERANK, "run", "--profile", "laptop", "-p", "data.limit={train: 8, validation: 2, test: 6}", "-p", "threads=1", "-p", "model.dtype=float32", "-p", "grpo.warm_start.steps=4", "-p", "grpo.pilot={loci: 2, cut: 1.0, no_list: 1.0, alike: 1.0}",
                "-p", "grpo.trl.max_steps=3", "-p", "grpo.trl.save_steps=1", "-p", "grpo.trl.num_generations=4", "-p", "grpo.trl.per_device_train_batch_size=4",
                "-p", "grpo.trl.gradient_accumulation_steps=2", "-p", "evaluation.draws=1000"], 90)}


def table(records):
    "Faults, survived and lost: by what was run and the stage, then by kind."
    def counts(name):
        rows = {}
        for r in records:
            row = rows.setdefault(name(r), {"injected": 0, "survived": 0, "lost": 0})
            row["injected"] += 1
            row["lost" if r["lost"] else "survived"] += 1
        return rows
    return {"stage": counts(lambda r: f"{r.get('what')}: {r['stage']}"), "fault": counts(lambda r: FAULTS[r["fault"]]), **counts(lambda r: "all")}


def rows_of(found):
    "The rows of the table in tests/README.md, from one that `table` made."
    lines = [(f"faults on `{name.replace(': ', '`, stage `')}`", n) for name, n in found["stage"].items()] + [(f"of all: {name}", n) for name, n in found["fault"].items()]
    return "\n".join(f"| {name} | {n['injected']:,} | {n['survived']:,} | {n['lost']:,} |" for name, n in lines)


def held(out, what, seed):
    "The records of one command in a file; a last line that was torn is dropped."
    lines = out.read_text().splitlines() if out.exists() else []
    found = []
    for line in lines:
        with contextlib.suppress(json.JSONDecodeError): found.append(json.loads(line))
    return [r for r in found if (what, seed) == (r.get("what"), r.get("seed"))]


def side_by_side(given):
    "Have `jobs` processes of this same command do a part each, with one bar for all; the sum of their exit codes."
    stages = 1 if given.stage else 6
    mine = lambda: len([r for r in held(given.out, "stub", given.seed) if given.stage in (None, r["stage"])])
    command = [sys.executable, __file__, "stub", str(given.count), "--seed", str(given.seed), "--out", str(given.out), *(["--stage", given.stage] if given.stage else [])]
    processes = [subprocess.Popen([*command, "--part", f"{i}/{given.jobs}"], stdout=subprocess.DEVNULL) for i in range(given.jobs)]
    try:
        with tqdm(total=given.count * stages, initial=mine(), unit="fault", smoothing=0, dynamic_ncols=True) as bar:
            while any(p.poll() is None for p in processes):
                time.sleep(2)
                bar.update(mine() - bar.n)
    finally:
        for p in processes: p.terminate()
    return sum(abs(p.wait()) for p in processes)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["stub", *PROFILES, "table"])
    parser.add_argument("count", type=int, nargs="?", default=0, help="faults: of the stub in each stage, else in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stage", help="of the stub: this one alone")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side (a profile takes one core and 3 GB each)")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, nargs="+", help="file for one line of JSON a fault; what it holds is not done again")
    given = parser.parse_args()
    if given.what == "table":
        print(rows_of(table([json.loads(line) for f in given.out or [] for line in f.read_text().splitlines()])))
        return 0
    folder = Path(tempfile.mkdtemp(prefix="generank-faults-"))
    given.out, code = given.out[0] if given.out else folder/"faults.jsonl", 0
    if not given.part and given.out.exists() and (text := given.out.read_bytes()) and not text.endswith(b"\n"): given.out.write_bytes(text[:text.rfind(b"\n") + 1])
    given.out.parent.mkdir(parents=True, exist_ok=True)
    done = held(given.out, given.what, given.seed)
    def write(record):
        with open(given.out, "a") as f: f.write(json.dumps({"what": given.what, "seed": given.seed, **record}) + "\n")
        if record["lost"]: print(json.dumps(record), file=sys.stderr, flush=True)
        if bar is not None: bar.update()
    bar = None
    if given.part:
        part = tuple(map(int, given.part.split("/")))
        stub(given.count, given.seed, folder/"stub", write, [given.stage] if given.stage else None, done={(r["stage"], r["number"]) for r in done}, part=part)
    elif given.what == "stub": code = side_by_side(given)
    else:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with tqdm(total=given.count, initial=len(done), unit="fault", smoothing=0, dynamic_ncols=True) as bar:
                whole(PROFILES[given.what][0], given.count, given.seed, folder, write, PROFILES[given.what][1], done=done, jobs=given.jobs)
        except KeyboardInterrupt:
            for there in [*Round.open]: there.close()
            print(f"Stopped; the same command goes on where {given.out} ends.", file=sys.stderr, flush=True)
            os._exit(130)   # the threads that wait for those runs, too
    records = held(given.out, given.what, given.seed)
    lost = sum(bool(r["lost"]) for r in records)
    print(json.dumps(table(records), indent=1))
    if not lost and not code: shutil.rmtree(folder, ignore_errors=True)
    return int(lost > 0 or code > 0)


if __name__ == "__main__": sys.exit(main())
