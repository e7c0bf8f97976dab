"""Every profile, those for graphics cards too, makes the arguments that the pinned packages take."""
import ast
import configparser
import inspect
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from peft import LoraConfig

from generank import backends, grpo
from generank.profile import Vllm, profile_names, resolve
from generank.models import PACKAGED

ROOT = Path(__file__).resolve().parents[1]
UNSLOTH, VLLM = (json.loads((ROOT/"tests"/"signatures"/f"{package}.json").read_text()) for package in ("unsloth", "vllm"))
LAUNCH = sorted((ROOT/"generank"/"launch").glob("*.yaml"))


def trained(name):
    config = resolve(name)
    return [{**config, "arm": a} for a in config["arms"] if a["training"] == "grpo"]


def arguments(config, monkeypatch, tmp_path):
    "trl's GRPOConfig of an arm, as on a machine that has what its backend needs."
    named = lambda config: (config["grpo"].get("backend", "auto").replace("auto", "shared"), "")
    monkeypatch.setattr(grpo, "training_backend", named)
    return grpo._grpo_arguments(config, tmp_path)


@pytest.mark.parametrize("name", profile_names())
def test_a_profile_makes_its_packages_arguments(name, monkeypatch, tmp_path):
    for config in trained(name):
        made, lora = arguments(config, monkeypatch, tmp_path), config["grpo"]["lora"]
        assert made.generation_batch_size % made.num_generations == 0 and made.temperature > 0
        assert made.use_vllm == (config["grpo"]["backend"] == "vllm")
        if lora is not None: assert LoraConfig(task_type="CAUSAL_LM", **lora).r == lora["r"]
        if config["grpo"]["backend"] == "unsloth":
            call = UNSLOTH["arguments"]
            assert {*config["grpo"]["unsloth"], "full_finetuning", "random_state", "model_name"} <= set(call["FastLanguageModel.from_pretrained"])
            assert {*lora, "random_state"} <= set(call["FastLanguageModel.get_peft_model"])
            assert config["grpo"]["unsloth"]["max_lora_rank"] >= lora["r"]
            assert config["grpo"]["unsloth"]["max_seq_length"] > made.max_completion_length
        if config["model"]["name"] not in ("random-llama", *PACKAGED):
            assert len(config["model"]["revision"]) == 40, "a download is pinned by its commit"
            assert "Not yet run." in config["description"]


def keywords(source, name):
    "Arguments that a source passes by name in its calls of `name`."
    calls = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == name]
    assert calls
    return {k.arg for c in calls for k in c.keywords if k.arg}


def test_the_signatures_are_those_of_the_pinned_packages():
    pins = configparser.ConfigParser()
    pins.read(ROOT/"settings.ini")
    assert {f"unsloth=={UNSLOTH['version']}", f"vllm=={VLLM['version']}"} <= set(pins["DEFAULT"]["gpu_requirements"].split())


def test_vllm_takes_what_trl_tells_it_in_training():
    "trl's own calls, held against the pinned wheel of vLLM, and the pin against the versions that trl supports."
    from importlib import import_module
    from packaging.version import Version
    from trl.generation import vllm_generation
    call, source = VLLM["arguments"], inspect.getsource(vllm_generation)
    assert keywords(source, "LLM") <= {*call["LLM"], *call["EngineArgs"]}
    sampling = next(n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Assign) and isinstance(n.value, ast.Dict) and ast.unparse(n.targets[0]) == "generation_kwargs")
    assert {"max_tokens", "logprobs"} <= {k.value for k in sampling.keys} <= set(call["SamplingParams"])
    low, high = re.search(r"vLLM versions from ([\d.]+) to ([\d.]+)\.", inspect.getsource(import_module("trl.import_utils"))).groups()
    assert Version(low) <= Version(VLLM["version"]) <= Version(high)


def test_vllm_takes_what_we_tell_it_in_inference(tmp_path):
    (tmp_path/"adapter_config.json").write_text('{"r": 32}')
    engine, call = Vllm(tensor_parallel_size=2, data_parallel_size=2, max_model_len=2048), VLLM["arguments"]
    made = backends.engine_arguments({"name": "m", "revision": "c" * 40, "dtype": "bfloat16", "quantization": "4bit"}, "m", tmp_path, engine)
    assert {"quantization", "enable_lora", "revision"} <= set(made) <= {*call["LLM"], *call["EngineArgs"]}
    served = {f for name in ("EngineArgs", "AsyncEngineArgs", "BaseFrontendArgs", "FrontendArgs") for f in call[name]}
    flags = {w.removeprefix("--").removeprefix("no-").replace("-", "_") for w in backends.server_command(made, tmp_path, engine, 8000) if w.startswith("--")}
    assert {"port", "lora_modules", "data_parallel_size"} <= flags <= served
    source = inspect.getsource(backends)
    assert keywords(source, "SamplingParams") <= set(call["SamplingParams"]) and call["LoRARequest"][:3] == ["lora_name", "lora_int_id", "lora_path"]


def test_the_faithful_profile_keeps_the_first_runs_settings(monkeypatch, tmp_path):
    config = trained("h100-faithful")[0]
    made = arguments(config, monkeypatch, tmp_path)
    assert made.generation_batch_size == 128 and made.num_generations == 16 and made.max_completion_length == 500
    assert (made.learning_rate, made.adam_beta2, made.weight_decay, made.max_grad_norm, made.beta, made.temperature) == (5e-6, 0.99, 0.1, 0.1, 0.01, 0.9)
    assert (made.loss_type, made.scale_rewards, made.use_bias_correction_kl, made.vllm_importance_sampling_correction) == ("grpo", "group", False, False)
    assert made.optim == "paged_adamw_8bit" and made.lr_scheduler_type == "cosine" and made.epsilon_high is None
    assert grpo._plan(made, 540) == (675, 5400)             # ten epochs of 540 loci, eight a step
    assert made.get_warmup_steps(675) == 7                  # one per cent
    assert config["grpo"]["lora"]["r"] == config["grpo"]["lora"]["lora_alpha"] == 32 and len(config["grpo"]["lora"]["target_modules"]) == 7
    assert config["grpo"]["dynamic_sampling"] == 0 and config["grpo"]["select"] is None and config["model"]["quantization"] == "4bit" and config["grpo"]["unsloth"]["load_in_4bit"] is None


@pytest.mark.parametrize("file", LAUNCH, ids=lambda p: p.stem)
def test_accelerate_takes_the_launch_configurations(file):
    from accelerate.commands.config.config_args import load_config_from_file
    assert load_config_from_file(str(file)).distributed_type.value.lower() == {"ddp": "multi_gpu", "fsdp": "fsdp", "zero3": "deepspeed"}[file.stem]


LISTEN = """
import os, signal, socket, sys, time
port = os.environ["PORT"]
def stop(*_):
    with open(os.environ["SAID"] + "/vllm", "a") as f: f.write("stopped\\n")
    sys.exit(7)
signal.signal(signal.SIGTERM, stop)
time.sleep(1)
listening = socket.create_server(("127.0.0.1", int(port)))
while True: time.sleep(0.1)
"""
LAUNCHER = """#!/bin/sh
# In place of accelerate and vllm, which need cards: says what it was started as, and on SIGTERM that it was stopped
trap 'echo stopped >> "$SAID/${0##*/}"; exit 7' TERM
echo "$CUDA_VISIBLE_DEVICES $TORCH_ELASTIC_SHUTDOWN_TIMEOUT $*" > "$SAID/${0##*/}"
[ "${0##*/}" = accelerate ] || exec python -c "$LISTEN"
while true; do sleep 0.1; done
"""


def test_the_slurm_script_passes_the_signal_on(tmp_path):
    "Slurm signals the script alone; the training must hear of it, and so must the server when the training has ended."
    (tmp_path/"bin").mkdir()
    for name in ("accelerate", "vllm"):
        (tmp_path/"bin"/name).write_text(LAUNCHER)
        (tmp_path/"bin"/name).chmod(0o755)
    script = ROOT/"generank"/"launch"/"slurm.sh"
    assert "#SBATCH --signal=B:TERM@" in script.read_text()
    with socket.create_server(("127.0.0.1", 0)) as free: port = free.getsockname()[1]
    mine = tmp_path/"mine.yaml"
    mine.write_text(f"extends: laptop\ngrpo: {{trl: {{vllm_server_port: {port}}}}}\n")
    env = {**os.environ, "PATH": f"{tmp_path/'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}", "SAID": str(tmp_path), "PROFILE": str(mine), "LISTEN": LISTEN, "PORT": str(port)}
    process = subprocess.Popen(["bash", script, "grpo-rank", tmp_path/"out", "-p", "seed=2"], env=env, start_new_session=True)
    try:
        end = time.monotonic() + 60
        while not all((tmp_path/name).exists() and (tmp_path/name).read_text() for name in ("accelerate", "vllm")):
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 7
    finally:
        with suppress(ProcessLookupError): os.killpg(process.pid, signal.SIGKILL)
    training, server = ((tmp_path/name).read_text().splitlines() for name in ("accelerate", "vllm"))
    assert training[0].startswith("0,1,2,3 110 launch") and training[0].endswith(f"generank train grpo-rank --profile {mine} --out {tmp_path/'out'} -p seed=2") and training[1] == "stopped"
    assert server[0].startswith("4  serve /") and f"--host 127.0.0.1 --port {port}" in server[0] and "--weight-transfer-config" in server[0]
