"""A GRPO training killed at five moments, and stopped by SIGTERM, ends with the very bytes of one that was left alone."""
import json
import os
import signal
import time

import pandas as pd
import pytest

from forked import Script
from generank.checkpoints import is_whole, read_metrics

SCRIPT = '''
"""Train a warm start, then GRPO, in the folder argv[1]; argv[2] says when to kill this process, argv[3] how often that moment passes unharmed."""
import os, signal, sys
from pathlib import Path
out, moment, pass_by = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
import generank.checkpoints, generank.grpo, generank.trainers, torch
from generank.core import stable_seed

def lethal(function):
    "The function, which ends this process half-way the time it is called after `pass_by` calls."
    calls = 0
    def wrapped(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == pass_by + 1: os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapped

def spaces(completions, **kwargs):
    "A reward that a random model can vary."
    return [float(" " in c) for c in completions]
sys.modules["spaces"] = type(sys)("spaces"); sys.modules["spaces"].spaces = spaces

if moment == "sampling":   # half-way through the tokens of a batch of answers
    generank.groups._draw = lethal(generank.groups._draw)
if moment == "scoring": sys.modules["spaces"].spaces = lethal(spaces); sys.modules["spaces"].spaces.__name__ = "spaces"
if moment == "updating": torch.optim.AdamW.step = lethal(torch.optim.AdamW.step)
if moment == "saving":     # all files are written, the last of them half, and the seal is missing
    real = generank.checkpoints.grpo_state
    def half(trainer, seen=[0]):
        saving = sys._getframe(1).f_code.co_name == "save_sealed"
        seen[0] += saving
        if saving and seen[0] == pass_by + 1:
            newest = max((out/"grpo"/"checkpoints").glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
            with open(newest/"optimizer.pt", "r+b") as f: f.truncate(1000)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(trainer)
    generank.checkpoints.grpo_state = half

loci = [dict(locus_id=f"L{i}", trait=t, candidates=c, causal_gene=c[0]) for i, (t, c) in enumerate(
    {"asthma": ["IL13", "RAD50", "KIF3A", "IL4"], "LDL cholesterol": ["LDLR", "SMARCA4", "DOCK6"], "gout": ["SLC2A9", "WDR1", "DRD5", "CLNK"]}.items())]
config = {"seed": 1, "model": {"name": "random-llama", "dtype": "float32"}, "prompts": {"style": "answer", "descriptions": False},
          "grpo": {"warm_start": {"steps": 2, "prompts_per_step": 1, "lists_per_prompt": 2, "learning_rate": 1e-3}, "lora": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]},
                   "dynamic_sampling": 1, "trl": {"max_steps": 7, "num_generations": 4, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "steps_per_generation": 3, "num_iterations": 2,
                                        "max_completion_length": 10, "learning_rate": 1e-2, "beta": 0.05, "save_steps": 2, "log_completions": True, "logging_steps": 1}}}
generank.grpo.train({**config, "arm": {"name": "warm-start", "training": "format"}}, loci, out/"warm-start")
if moment == "between": lethal(lambda: None)()
generank.grpo.train({**config, "arm": {"name": "grpo", "training": "grpo", "reward": "spaces:spaces"}}, loci, out/"grpo", start_from=out/"warm-start")
'''
CLOCKS = ("seconds", "tokens_per_second", "memory_gb", "step_time")


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    file = tmp_path_factory.mktemp("resume")/"train.py"
    file.write_text(SCRIPT)
    return file


def start(script, out, moment="-", pass_by=0): return Script(script, out, moment, pass_by)


def go(*arguments): return start(*arguments).wait()


def outcome(out):
    "Everything that must not depend on an interruption: logged numbers, sampled answers with their rewards and advantages, and the adapter."
    arm = out/"grpo"
    rows = [{k: v for k, v in r.items() if k not in CLOCKS and not k.startswith("time/")} for r in read_metrics(arm/"metrics.jsonl")]
    answers = {p.name: pd.read_parquet(p).to_json() for p in sorted((arm/"completions").glob("*.parquet"))}
    return rows, answers, json.loads((arm/"training.json").read_text())["adapter_sha256"], (arm/"adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def alone(script, tmp_path_factory):
    "The training that was left alone."
    out = tmp_path_factory.mktemp("alone")
    code, said = go(script, out)
    assert code == 0, said
    kept = outcome(out)
    replaced = [r["groups/replaced"] for r in kept[0] if "groups/replaced" in r]
    assert len(replaced) == 3 and max(replaced) > 0, "the test must see groups replaced"
    return kept


@pytest.mark.parametrize("moment, pass_by, step", [("sampling", 25, 2), ("scoring", 5, 2), ("updating", 7, 4), ("saving", 1, 2), ("between", 0, 0)])
def test_a_killed_training_ends_as_if_it_had_not_been(script, alone, tmp_path, moment, pass_by, step):
    code, said = go(script, tmp_path, moment, pass_by)
    assert code == -signal.SIGKILL, said
    assert not (tmp_path/"grpo"/"training.json").exists()
    whole = [int(p.name.split("-")[1]) for p in (tmp_path/"grpo"/"checkpoints").glob("checkpoint-*") if is_whole(p)]
    assert max(whole, default=0) == step  # it was killed where this test says, past the first pass over the loci but for the last moment

    code, said = go(script, tmp_path)
    assert code == 0, said
    assert ("is torn" in said) == (moment == "saving")
    for left, right in zip(outcome(tmp_path), alone): assert left == right


def test_sigterm_saves_before_leaving(script, alone, tmp_path):
    process, end = start(script, tmp_path), time.monotonic() + 120
    while not (rows := read_metrics(tmp_path/"grpo"/"metrics.jsonl")) or rows[-1]["step"] < 3:
        assert time.monotonic() < end and not os.waitpid(process.pid, os.WNOHANG)[0], process.printed.read_text()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait()[0] != 0
    saved = max(int(p.name.split("-")[1]) for p in (tmp_path/"grpo"/"checkpoints").glob("checkpoint-*") if is_whole(p))
    assert saved >= 3
    code, said = go(script, tmp_path)
    assert code == 0, said
    for left, right in zip(outcome(tmp_path), alone): assert left == right
