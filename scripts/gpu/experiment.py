"""The experiment of a profile on this machine: each seed a run folder like any other, several at a time, stopped by the clock and continued by the next call.

The stages' own functions do the work, one after another in one process for each seed; no notebook is executed, so that no minute of the card goes into
starting kernels. The folders are those of `generank run`: settings, manifest, adapters, answers, evaluation. The report is made at home.
"""
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from io import BytesIO
from pathlib import Path

from common import ROOT, Part, UserError, arguments, call, ended, log, quiet, work

LARGEST = 15 * 2**20   # of one file that comes back


def stage_work():
    "What each stage does: (run folder, configuration, unit)."
    from generank import data, evaluation, grpo, inference
    return {"data": lambda d, c, u: data.run_stage(d, c), "grpo": lambda d, c, u: grpo.run_stage(d, c, [u.arm]),
            "inference": lambda d, c, u: inference.run_stage(d, c, [u.arm]), "evaluation": lambda d, c, u: evaluation.run_stage(d, c)}


def do_units(profile, out:Path, overrides=(), stages=("data", "grpo", "inference", "evaluation"))->dict[str, str]:
    "Do what is not done yet of some stages of a run, as `generank run` would; every unit's state."
    import yaml
    from generank.core import write_text
    from generank.execution import write_manifest
    from generank.pipeline import begin, end, locked, open_run, units, why
    run = open_run(profile, out, overrides, resume=(out/"config.yaml").exists())
    todo, works = [u for group in units(run.config) for u in group if u.stage in stages], stage_work()
    with locked(run.dir):
        write_text(run.dir/"config.yaml", yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True))
        for unit in todo:
            reason = why(run, unit)
            if not reason: continue
            log.info("%s %s: %s", out.name, unit, reason)
            begin(run, unit)
            write_manifest(run.dir, run.manifest, run.config)
            began, status = time.monotonic(), "failed"
            try:
                works[unit.stage](run.dir, run.config, unit)
                status = "done"
            except KeyboardInterrupt:
                status = "interrupted"
                raise
            finally: end(run, [unit], status, time.monotonic() - began)
    return states(out)


def states(out:Path)->dict[str, str]:
    "How far a run is: unit -> done, interrupted, failed, or not begun."
    import yaml
    from generank.execution import read_manifest
    from generank.pipeline import units
    if not (out/"config.yaml").exists(): return {"data": "not begun"}
    stages = read_manifest(out)["stages"]
    config = yaml.safe_load((out/"config.yaml").read_text(encoding="utf-8"))
    return {str(u): stages.get(str(u), {}).get("status", "not begun") for group in units(config) for u in group if u.stage != "report"}


def one_run(options, out:Path, overrides)->int:
    "Work on one run until it is finished or its time is up; an interrupt lets a training save itself."
    stop = threading.Timer(max(1, options.seconds - 15), os.kill, (os.getpid(), signal.SIGINT))
    stop.daemon = True
    stop.start()
    try: do_units(options.profile, out, overrides)
    except KeyboardInterrupt:
        log.info("%s is stopped; what is done is kept", out.name)
        return 3
    finally: stop.cancel()
    return 0


def several(plans, options)->dict[str, int]:
    "Work on several runs, so many at a time, each in a process of its own; their exit codes."
    waiting, busy, codes, end = list(plans), {}, {}, time.monotonic() + options.seconds
    while waiting or busy:
        while waiting and len(busy) < options.jobs and end - time.monotonic() > 30:
            out, overrides = waiting.pop(0)
            given = [x for o in overrides for x in ("-p", o)]
            busy[out.name] = subprocess.Popen([sys.executable, __file__, "--child", str(out), "--profile", options.profile, "--seconds", f"{end - time.monotonic():.0f}", *given])
        for name, process in list(busy.items()):
            if process.poll() is None and time.monotonic() > end + 20: process.kill()
            if process.poll() is not None: codes[name] = busy.pop(name).returncode
        if waiting and not busy:   # no time is left to begin another
            return {**codes, **{out.name: 3 for out, _ in waiting}}
        time.sleep(0.5)
    return codes


def take_home(folder:Path, file:Path):
    "The small files of a run as one archive, without this machine's paths."
    from generank.execution import file_hashes
    sys.path.append(str(ROOT/"scripts"))
    from record import RECORDED
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w:gz") as archive:
        for name in file_hashes(folder, [*RECORDED, "models/*/README.md", "models/*/settings.json"]):
            content = (folder/name).read_bytes()
            if name.endswith((".json", ".jsonl", ".yaml", ".md", ".csv", ".svg")): content = content.replace(str(work()).encode(), b"<work>")
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, BytesIO(content))
    if file.stat().st_size > LARGEST: raise UserError(f"{file.name} takes {file.stat().st_size / 2**20:.0f} MiB, more than a file that comes back may: fewer arms, or fewer steps.")


def model_name(name:str)->str:
    "A model as `load_model` takes it: a folder that `carry receive` made, else the name itself."
    made = work()/"models"/name
    return str(made) if made.is_dir() else name


def main(argv)->int:
    parser = arguments("experiment", __doc__.split("\n")[0])
    parser.add_argument("--profile", default=None, help="a profile's name or path; h200, in miniature tiny with its arms and those of both rewards and supervised")
    parser.add_argument("--models", nargs="+", default=None, help="smollm2-135m-instruct, in miniature random-llama; or what `carry receive` made")
    parser.add_argument("--seeds", nargs="+", type=int, default=None, help="seeds, each a run; 1 2 3, in miniature 1")
    parser.add_argument("--steps", type=int, default=None, help="GRPO steps of an arm; the profile's own")
    parser.add_argument("--jobs", type=int, default=3, help="runs at a time; a single run needs no process of its own")
    parser.add_argument("-p", dest="overrides", action="append", default=[], help="a further setting of the profile, such as grpo.trl.learning_rate=2e-4")
    parser.add_argument("--child", type=Path, help="(of the part itself: work on this run folder alone)")
    options = parser.parse_args(argv)
    quiet()
    if options.child: return one_run(options, options.child, options.overrides)
    arms = "arms=[{name: zero-shot, training: none}, {name: warm-start, training: format}, {name: grpo-rank, training: grpo, reward: rank, start_from: warm-start}, " \
           "{name: grpo-binary, training: grpo, reward: binary, start_from: warm-start}, {name: sft, training: sft, start_from: warm-start}]"
    little = [arms, "perturbations=[]", "inference.representations=false", "threads=null", "evaluation.family=[[grpo-rank, warm-start], [grpo-binary, warm-start], [sft, warm-start], [grpo-rank, grpo-binary]]"]
    for k, v in (dict(profile="tiny", models=["random-llama"], seeds=[1]) if options.miniature else dict(profile="h200", models=["smollm2-135m-instruct"], seeds=[1, 2, 3])).items():
        if getattr(options, k) is None: setattr(options, k, v)
    shared = [*(little if options.miniature else []), *([f"grpo.trl.max_steps={options.steps}"] if options.steps else []), *options.overrides]
    part = Part("experiment", options)
    plans = [(work()/("runs-miniature" if options.miniature else "runs")/f"{m}.seed-{s}", [*shared, f"seed={s}", f"model.name={model_name(m)}"]) for m in options.models for s in options.seeds]
    part.save()
    if len(plans) == 1: codes = {plans[0][0].name: one_run(options, *plans[0])}
    else: codes = several(plans, options)
    for out, _ in plans:
        found = states(out)
        left = [u for u, s in found.items() if s != "done"]
        part.rows[out.name] = {"units": found, "left": left, "exit": codes[out.name], **({"failed": f"{left[0]} {found[left[0]]}"} if left and codes[out.name] not in (0, 3) else {})}
        if (out/"manifest.json").exists(): take_home(out, options.out/f"{out.name}.tar.gz")
        print(f"{out.name}: {len(found) - len(left)} of {len(found)} units done" + (f", next {left[0]}" if left else ""))
    part.save("stopped" if any(r["left"] for r in part.rows.values()) and not part.failures() else "done")
    return ended(part)


if __name__ == "__main__": sys.exit(call(main))
