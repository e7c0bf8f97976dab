"""Two processes train as one process with twice the batch: the same loci, advantages and gradients."""
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch

from forked import Script
from generank.checkpoints import is_whole, newest_checkpoint, read_metrics

SCRIPT = '''
"""A warm start, and three GRPO steps with answers that depend on the prompt alone, in the folder argv[1], argv[2] loci a process and step; keep each step's gradients."""
import os, sys, time, torch
from pathlib import Path
import generank.grpo, generank.trainers
from generank.core import stable_seed
from transformers import TrainerCallback
out, groups = Path(sys.argv[1]), int(sys.argv[2])

def replay(model, prompts, n, max_new_tokens, temperature, eos_ids, pad_id, **more):
    "Answers that any number of processes samples alike."
    return [torch.randint(10, 300, (5 + i,), generator=torch.Generator().manual_seed(stable_seed(p, i))).tolist() for p in prompts for i in range(n)]
generank.trainers.sample_groups = replay

def spaces(completions, **kwargs):
    time.sleep(float(os.environ.get("SLOW", 0)))
    return [len(c) % 7 / 7 for c in completions]
sys.modules["spaces"] = type(sys)("spaces"); sys.modules["spaces"].spaces = spaces

class Gradients(TrainerCallback):
    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if args.process_index == 0: torch.save({n.removeprefix("module."): p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}, out/f"gradients_{state.global_step}.pt")
loci = [dict(locus_id=f"L{i}", trait=t, candidates=c, causal_gene=c[0]) for i, (t, c) in enumerate(
    {"asthma": ["IL13", "RAD50", "KIF3A"], "LDL": ["LDLR", "SMARCA4", "DOCK6"], "gout": ["SLC2A9", "WDR1"], "obesity": ["MC4R", "PMAIP1", "CDH20"]}.items())]
config = {"seed": 1, "model": {"name": "random-llama", "dtype": "float32"}, "prompts": {"style": "answer", "descriptions": False}, "arm": {"name": "grpo", "training": "grpo", "reward": "spaces:spaces"},
          "grpo": {"warm_start": {"steps": 3, "prompts_per_step": 2, "lists_per_prompt": 2, "learning_rate": 1e-3}, "lora": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": "gaussian"},
                   "trl": {"max_steps": 3, "num_generations": 4, "per_device_train_batch_size": 4 * groups, "gradient_accumulation_steps": 2, "max_completion_length": 10, "learning_rate": 1e-2,
                           "beta": 0.0, "optim": "sgd", "log_completions": True, "loss_type": "dr_grpo", "scale_rewards": "batch", "lr_scheduler_type": "constant"}}}
real = generank.grpo._grpo
generank.grpo._grpo = lambda *a: (lambda t: (t.add_callback(Gradients()), t)[1])(real(*a))
out.mkdir(exist_ok=True)
generank.grpo.train({**config, "arm": {"name": "warm-start", "training": "format"}}, loci, out/"warm-start")
generank.grpo.train(config, loci, out)
'''


LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def train(script, out, groups, processes):
    "Train to the end in so many processes, which meet as a launcher has them meet."
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    number = lambda i: {"RANK": str(i), "LOCAL_RANK": str(i), "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), **meeting} if processes > 1 else {}
    for code, said in [p.wait() for p in [Script(script, out, groups, TOKENIZERS_PARALLELISM="false", **number(i)) for i in range(processes)]]: assert code == 0, said[-3000:]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    "The folders of one process with four groups a step, and of two with two groups each."
    folder = tmp_path_factory.mktemp("distributed")
    (folder/"train.py").write_text(SCRIPT)
    train(folder/"train.py", folder/"one", 2, 1)
    train(folder/"train.py", folder/"two", 1, 2)
    return folder/"one", folder/"two"


def test_the_same_loci_and_advantages(trained):
    for step in (1, 2, 3):
        one, two = ({(json.dumps([dict(m) for m in r["prompt"]]), r["completion"][0]["content"]): r["advantage"] for r in pd.read_parquet(d/"completions"/f"step_{step:05d}.parquet").to_dict("records")} for d in trained)
        assert one.keys() == two.keys() and len(one) == 16
        assert max(abs(one[k] - two[k]) for k in one) < 1e-5


def test_the_same_gradients(trained):
    for step in (0, 1, 2):
        one, two = (torch.load(d/f"gradients_{step}.pt", weights_only=True) for d in trained)
        assert one.keys() == two.keys() and any(g.abs().max() > 1e-4 for g in one.values())
        assert max(float((one[k] - two[k]).abs().max()) for k in one) < 1e-5


def test_the_same_warm_start_and_one_log(trained):
    "A step has the profile's prompts, however many processes share them, and one process writes it down."
    one, two = (read_metrics(d/"warm-start"/"metrics.jsonl") for d in trained)
    assert [r["step"] for r in two] == [1, 2, 3] and [r["step"] for r in read_metrics(trained[1]/"metrics.jsonl")] == [1, 2, 3]
    assert max(abs(a["loss"] - b["loss"]) for a, b in zip(one, two)) < 1e-4 and one[0]["loss"] != one[1]["loss"]


def test_a_signal_saves_the_step_under_way_and_the_training_goes_on(trained):
    "As a scheduler ends a job: SIGTERM to the launcher, which passes it on."
    folder = trained[0].parent
    env, log = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}, folder/"stopped"/"metrics.jsonl"
    command = [*LAUNCHER, folder/"train.py", folder/"stopped", "1"]
    process = subprocess.Popen(command, env={**env, "SLOW": "1.5"}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 200
    while not (log.exists() and log.read_text().count("\n")):
        assert time.monotonic() < end and process.poll() is None, process.communicate()
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=100)
    assert process.returncode != 0 and not (folder/"stopped"/"training.json").exists()
    saved = newest_checkpoint(folder/"stopped"/"checkpoints")
    assert saved and is_whole(saved) and saved.name in ("checkpoint-1", "checkpoint-2")
    train(folder/"train.py", folder/"stopped", 1, 2)
    weights = [(folder/name/"adapter_model.safetensors").read_bytes() for name in ("stopped", "two")]
    assert weights[0] == weights[1], "a training that was stopped ends with other weights"
