"""Whether a long training stays small: python benchmarks/long_run.py [--steps 2000] [--folder FOLDER] [--save]

Trains the profile `tiny` by GRPO in one process, as `generank train` does, and notes memory, open files and checkpoints every few steps. A folder that
holds a stopped training is gone on with. Exit code 1 where memory or files grow, or old checkpoints stay."""
import argparse, json, os, statistics, sys, tempfile, time
from pathlib import Path

import psutil
from _record import REPOSITORY, save

GROWTH = 0.05   # of memory between the first and the last fifth of a process's steps, after the first tenth
KEPT = 2        # checkpoints that generank keeps, besides one that is being written


def watched(made, folder, every):
    "A training's callback that also adds a line to the folder's samples.jsonl after every so many steps."
    process, began, end = psutil.Process(), time.time(), made.on_step_end
    def on_step_end(args, state, control, **more):
        answer = end(args, state, control, **more)
        if state.global_step % every == 0:
            here = {"step": state.global_step, "process": os.getpid(), "seconds": round(time.time() - began, 1), "memory_mb": round(process.memory_info().rss / 1e6, 1),
                    "files": process.num_fds(), "threads": process.num_threads(), "checkpoints": len(list(Path(args.output_dir).glob("checkpoint-*"))),
                    "folder_mb": round(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6, 1)}
            with open(folder/"samples.jsonl", "a") as f: f.write(json.dumps(here) + "\n")
        return answer
    made.on_step_end = on_step_end
    return made


def trained(folder, steps, every):
    "Train in a folder; the samples of all its processes."
    from generank import data, grpo
    from generank.profile import resolve
    config = resolve("tiny", [f"grpo.trl.max_steps={steps}", f"grpo.trl.save_steps={max(1, min(50, steps // 8))}", "grpo.trl.log_completions=true"])
    loci, arms = data.load_loci(**config["data"])["train"].to_list(), {a["name"]: a for a in config["arms"]}
    grpo.train({**config, "arm": arms["warm-start"]}, loci, folder/"warm-start")
    make = grpo.metrics_callback
    grpo.metrics_callback = lambda *given: watched(make(*given), folder, every)
    grpo.train({**config, "arm": arms["grpo-rank"]}, loci, folder/"grpo-rank", start_from=folder/"warm-start")
    return [json.loads(line) for line in (folder/"samples.jsonl").read_text().splitlines()]


def judged(samples):
    "What is wrong, in words, and the numbers: of the process that did most steps, its first tenth left out."
    longest = max({s["process"] for s in samples}, key=lambda p: sum(s["process"] == p for s in samples))
    of = [s for s in samples if s["process"] == longest]
    of = of[len(of) // 10:]
    fifth = max(1, len(of) // 5)
    first, last = ({k: statistics.median(s[k] for s in part) for k in ("memory_mb", "files", "threads")} for part in (of[:fifth], of[-fifth:]))
    most = max(s["checkpoints"] for s in samples)
    wrong = [f"{k} grew from {first[k]:g} to {last[k]:g}" for k in first if last[k] > first[k] * (1 + GROWTH * (k == "memory_mb"))]
    pace = (of[-1]["seconds"] - of[0]["seconds"]) / max(1, of[-1]["step"] - of[0]["step"])
    return wrong + [f"{most} checkpoints were kept"] * (most > KEPT + 1), first, last, most, pace


def plot(samples, file):
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(3, 1, sharex=True, figsize=(7, 5), layout="constrained")
    for axis, (key, name) in zip(axes, (("memory_mb", "memory, MB"), ("files", "open files"), ("checkpoints", "checkpoints"))):
        axis.plot([s["step"] for s in samples], [s[key] for s in samples], ".-", markersize=3, linewidth=0.8, color="#0b5cad")
        axis.set(ylabel=name, ylim=(0, 1.1 * max(s[key] for s in samples)))
    axes[-1].set(xlabel="GRPO step")
    figure.savefig(file, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--every", type=int, default=10, help="steps from one look to the next")
    parser.add_argument("--folder", type=Path, help="where it trains; kept, so that a stopped run can go on")
    parser.add_argument("--save", action="store_true", help="keep what was measured in results/speed/, with a plot")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as t:
        (folder := options.folder or Path(t)/"long").mkdir(parents=True, exist_ok=True)
        samples = trained(folder, options.steps, options.every)
    wrong, first, last, most, pace = judged(samples)
    steps, processes = samples[-1]["step"], len({s["process"] for s in samples})
    said = (f"{steps:,} GRPO steps of the tiny model in {processes} process{'es' * (processes > 1)}: memory {first['memory_mb']:.0f} MB early and {last['memory_mb']:.0f} MB late, "
            f"{first['files']:g} and {last['files']:g} open files, at most {most} checkpoints")
    print(f"{said}; {pace:.2f} s a step. {'; '.join(wrong) or 'Nothing grew.'}")
    if options.save:
        rows = [[f"{s['step']}", f"{s['memory_mb']:.0f}", f"{s['files']}", f"{s['threads']}", f"{s['checkpoints']}", f"{s['folder_mb']:.1f}"] for s in samples[::max(1, len(samples) // 40)]]
        print(save("long_run", f"{said}.", ["Step", "Memory (MB)", "Open files", "Threads", "Checkpoints", "Folder (MB)"], rows))
        plot(samples, REPOSITORY/"results"/"speed"/"long_run.svg")
    return int(bool(wrong))


if __name__ == "__main__": sys.exit(main())
