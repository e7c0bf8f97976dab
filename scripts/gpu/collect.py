"""Make results/gpu/<date>/ of what came back: manifest.json, metrics.json, figures, and each finished seed as a recorded run.

`manifest.json` has `date`, `device`, `packages`, `commit`, `minutes`, `parts` (what each took and how it ended) and `files` (sha256 of each); `metrics.json` has
`correctness` (rows of `check`, `value`, `bound`, `passed`, or `failed` with the reason), `speed` (`setting`, `ceilings`, and `rows` with their `floor`) and `experiment` (one
entry a model, its arms and comparisons pooled over the seeds). A part that was not run is absent. A run whose answers are all there and whose evaluation is not is
evaluated here; one whose training is not finished is named under `unfinished` and left out. What was made in miniature, or without a graphics card,
goes to no results/gpu/: give --results another folder to look at it.
"""
import os
import re
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from common import ROOT, UserError, arguments, call, log, quiet, read_json, write_json

PARTS = ("carry", "correctness", "speed", "experiment")


def parts_of(folders)->dict[str, dict]:
    "The newest JSON of each part, and where its folder is."
    found = {}
    for folder in folders:
        if not folder.is_dir(): raise UserError(f"{folder} is not a folder: --came takes folders that came back.")
        for file in (folder/f"{p}.json" for p in PARTS):
            if not file.exists(): continue
            part = read_json(file)
            lacks = [k for k in ("part", "status", "device", "packages", "rows", "seconds", "ended") if k not in part]
            if lacks: raise UserError(f"{file} lacks {', '.join(lacks)}: it is no part's JSON.")
            if part["part"] not in found or found[part["part"]]["ended"] <= part["ended"]: found[part["part"]] = part
    if not found: raise UserError(f"{', '.join(map(str, folders))} hold no part's JSON: give the folders that the calls left in --came.")
    return found


def unpack(archive:Path, target:Path)->Path:
    "A run that came back, as a folder; an archive that reaches outside of it is refused."
    try:
        with tarfile.open(archive) as t: t.extractall(target, filter="data")
    except (tarfile.TarError, EOFError, OSError) as e: raise UserError(f"{archive} can't be unpacked ({e}): fetch it again.") from None
    return target


def recorded(archive:Path, model:str, results:Path)->Path|list[str]:
    "Record a run that came back under its model; or, where it is not finished, what is left of it."
    from experiment import do_units, states
    sys.path.append(str(ROOT/"scripts"))
    from record import record
    with tempfile.TemporaryDirectory() as t:
        folder = unpack(archive, Path(t)/"run")
        found = states(folder)
        left = [u for u, s in found.items() if s != "done"]
        if left == ["evaluation"]:
            device = read_json(folder/"manifest.json")
            do_units(None, folder, stages=("evaluation",))
            manifest = read_json(folder/"manifest.json")
            left, kept = [], {k: device[k] for k in ("hardware", "packages", "python", "platform", "git") if k in device}
            write_json(folder/"manifest.json", {**manifest, **kept, "notes": [*manifest["notes"], "Evaluated on another machine than it was trained on."]})
        if left: return left
        home = record(folder, results/model)
        for card in sorted(folder.glob("models/*/README.md")):
            (home/"models"/card.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(card, home/"models"/card.parent.name/"README.md")
    return home


def pooled(homes:list[Path])->dict:
    "Every arm and every pair of the family over the seeds, intervals by regions."
    import yaml
    from generank.evaluation import pool_pairs
    config = yaml.safe_load((homes[0]/"config.yaml").read_text(encoding="utf-8"))
    e, names = config["evaluation"], [a["name"] for a in config["arms"]]
    alone, metric = {n: (n, "random order") for n in names}, e["primary"]
    found = pool_pairs(homes, [*alone.values(), *map(tuple, e["family"])], e["split"], k=e["k"], draws=e["draws"], seed=e["seed"])
    first = found[alone[names[0]]]
    pick = lambda pair: {k: found[pair]["metrics"][metric][k] for k in ("difference", "ci_low", "ci_high", "two_level_ci_low", "two_level_ci_high", "cluster_p")}
    arms = {}
    for n, pair in alone.items():
        m = found[pair]["metrics"]
        arms[n] = {"value": m[metric]["a"], "ci_low": m[metric]["a_ci_low"], "ci_high": m[metric]["a_ci_high"], "top_1": m["top_1"]["a"] if "top_1" in m else None, "above_random": pick(pair)}
    return {"profile": config["profile"], "primary": metric, "split": e["split"], "n": first["n"], "n_clusters": first["n_clusters"], "seeds": [int(s) for s in first["seeds"]], "arms": arms,
            "comparisons": [{"a": a, "b": b, **pick((a, b)), "per_seed": found[a, b]["metrics"][metric]["per_seed"]} for a, b in e["family"]]}


def experiments(folders, results:Path)->list[dict]:
    "What each model's seeds came to; the newest archive of each counts."
    archives = {f.name: f for folder in folders for f in sorted(folder.glob("*.seed-*.tar.gz"))}
    by_model, entries = {}, []
    for name, file in sorted(archives.items()): by_model.setdefault(name.rsplit(".seed-", 1)[0], []).append(file)
    for model, files in by_model.items():
        done = {f.name.removesuffix(".tar.gz"): recorded(f, model, results) for f in files}
        homes = [h for h in done.values() if isinstance(h, Path)]
        entries.append({"model": model, **(pooled(homes) if homes else {}), "unfinished": {n: left for n, left in done.items() if isinstance(left, list)}})
    return entries


def speed_chart(speed:dict, device:str):
    "Seconds a step, generating and training, each way of sampling above its floor: a `generank.figures.Chart`."
    import pandas as pd
    from generank.figures import COLOURS, GREY, Chart, canvas, styled
    table = pd.DataFrame([{"backend": r["backend"], **{k: r.get(k) for k in ("generate", "train", "seconds", "tokens_per_second", "memory_gb")},
                           **{f"floor_{k}": r["floor"][k] if "floor" in r else None for k in ("generate", "train")}, "failed": r.get("failed", "")} for r in speed["rows"]])
    timed = table[table.failed == ""].reset_index(drop=True)
    @styled()
    def draw():
        figure, axis = canvas(6.4, 1.3 + 0.75 * len(timed))
        for i, r in timed.iterrows():
            axis.barh(i - 0.17, r.generate, 0.3, color=COLOURS[0], label="generate" if i == 0 else None)
            axis.barh(i - 0.17, r.train, 0.3, left=r.generate, color=COLOURS[1], label="train" if i == 0 else None)
            if pd.notna(r.floor_generate): axis.barh(i + 0.17, r.floor_generate + r.floor_train, 0.3, color=GREY, label="floor" if i == 0 else None)
        axis.set_yticks(range(len(timed)), timed.backend)
        axis.invert_yaxis()
        axis.set_xlabel("seconds a step")
        axis.legend()
        words = "; ".join(f"{r.backend} {r.seconds:.1f} s" for r in timed.itertuples())
        return Chart("speed", figure, table, f"Median seconds of a GRPO step on {device}, and the floor computed from bandwidth and matrix rate measured beside it.", f"Bars of the seconds of a step: {words}.")
    return draw()


def main(argv)->int:
    parser = arguments("collect", __doc__.split("\n")[0])
    parser.add_argument("--came", nargs="+", type=Path, required=True, help="folders that the calls left, in their order")
    parser.add_argument("--date", required=True, help="day of the measurements, YYYY-MM-DD")
    parser.add_argument("--minutes", type=float, help="minutes that the machine was held in all; the manifest keeps them")
    parser.add_argument("--results", type=Path, default=ROOT/"results"/"gpu", help="where the dates stand")
    options = parser.parse_args(argv)
    quiet()
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", options.date): raise UserError(f"--date {options.date} is not a day like 2026-11-23.")
    parts, target = parts_of(options.came), options.results/options.date
    cards = sorted({g for p in parts.values() for g in p["device"]["gpus"]})
    if options.results.resolve() == (ROOT/"results"/"gpu").resolve() and (not cards or any(p.get("miniature") for p in parts.values())):
        raise UserError("What came back was made in miniature or without a graphics card: it is no measurement, and results/gpu/ takes it not.")
    shutil.rmtree(target, ignore_errors=True)
    last = max(parts.values(), key=lambda p: p["ended"])
    metrics = {}
    if "correctness" in parts: metrics["correctness"] = [{"check": n, **r} for n, r in parts["correctness"]["rows"].items()]
    if "speed" in parts:
        rows = dict(parts["speed"]["rows"])
        metrics["speed"] = {"setting": parts["speed"]["options"], "ceilings": rows.pop("ceilings", {}), "rows": [{"backend": n, **r} for n, r in rows.items()]}
        if any("failed" not in r for r in metrics["speed"]["rows"]):
            from generank.figures import save_chart
            save_chart(speed_chart(metrics["speed"], (cards or ["a processor, in miniature"])[0].split(",")[0]), target/"figures")
    found = experiments(options.came, target)
    if found: metrics["experiment"] = found
    write_json(target/"metrics.json", metrics)
    files = sorted(p for p in target.rglob("*") if p.is_file())
    from generank.core import sha256_file
    write_json(target/"manifest.json", {
        "date": options.date, "miniature": any(p.get("miniature", False) for p in parts.values()), "device": last["device"], "packages": last["packages"], "commit": last.get("commit"), "minutes": options.minutes,
        "parts": {n: {**{k: p[k] for k in ("status", "seconds", "began", "ended", "commit", "options")}, "rows": len(p["rows"])} for n, p in parts.items()},
        "files": {p.relative_to(target).as_posix(): sha256_file(p) for p in files}})
    log.info("%d files, %.1f MB, in %s", len(files) + 1, sum(p.stat().st_size for p in files) / 1e6, os.path.relpath(target))
    print(os.path.relpath(target))
    return 0


if __name__ == "__main__": sys.exit(call(main))
