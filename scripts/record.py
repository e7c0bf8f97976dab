"""Copy the small artefacts of a finished run into results/ (`make record`), or evaluate recorded answers anew (`make reevaluate`).

To check a result a reader needs only small files: settings, record, answers, logged steps, metrics. Weights, checkpoints and executed notebooks are left
out. The library keeps changing after a run is recorded: the recorded answers stay, and `reevaluate` repeats the evaluation.

    python scripts/record.py record RUN
    python scripts/record.py reevaluate FOLDER...
"""
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from generank.core import UserError, write_json  # noqa: E402
from generank.evaluation import run_stage  # noqa: E402
from generank.execution import file_hashes, git_state, now, read_manifest  # noqa: E402
from generank.profile import resolve  # noqa: E402

RECORDED = ("config.yaml", "manifest.json", "data/*", "models/*/metrics.jsonl", "models/*/training.json",
            "responses/*.parquet", "responses/samples/*.csv", "probes/*/*.parquet", "evaluation/*.json")
STATE = git_state()   # evaluating a first run changes a tracked file, so a second would call the tree dirty


def record(run_dir, results=None)->Path:
    "Copy the small artefacts of a finished run to results/<profile>/seed-<seed>, in place of an earlier recording."
    manifest = read_manifest(run_dir)
    unfinished = [name for name, stage in manifest["stages"].items() if stage["status"] != "done"]
    if unfinished or not manifest["stages"]:
        raise UserError(f"{run_dir} is not a finished run ({', '.join(unfinished) or 'it has no stages'}): "
                        f"finish it with `generank run --out {run_dir} --resume`.")
    target = Path(results or ROOT/"results")/manifest["profile"]/f"seed-{manifest['seeds']['training']}"
    shutil.rmtree(target, ignore_errors=True)
    for file in file_hashes(run_dir, RECORDED):
        (target/file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(run_dir)/file, target/file)
    return target


def reevaluate(folder)->Path:
    "Evaluate a recorded run's answers with the library as it is now; the manifest keeps when, and at which commit (before any result changed)."
    folder = Path(folder)
    if not (folder/"config.yaml").is_file(): raise UserError(f"{folder} is not a recorded run: it has no config.yaml.")
    manifest = read_manifest(folder)
    shutil.rmtree(folder/"evaluation", ignore_errors=True)
    run_stage(folder, resolve(str(folder/"config.yaml")))
    shutil.rmtree(folder/"evaluation"/"figures", ignore_errors=True)   # figures are not recorded
    write_json(folder/"manifest.json", {**manifest, "reevaluated": {"at": now(), "git": STATE}})
    return folder/"evaluation"/"metrics.json"


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ("record", "reevaluate"): sys.exit(__doc__)
    for given in sys.argv[2:]:
        try: print(globals()[sys.argv[1]](given))
        except UserError as e: sys.exit(f"Error: {e}")
