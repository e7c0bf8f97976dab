"""Inference that is killed, over and over: no answer missing, doubled or changed."""
import functools
import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

TOY = [dict(locus_id=f"L{i}", region_id=f"R{i}", trait=trait, candidates=[f"GENE{i}", "IL13", "RAD50", *[f"X{j}" for j in range(i % 4)]], causal_gene="IL13")
       for i, trait in enumerate(["asthma", "gout", "LDL cholesterol", "height", "psoriasis"])]
SETTINGS = dict(model={"name": "random-llama", "dtype": "float32"}, backend="transformers", n=2, temperature=1.0, max_new_tokens=10, batch_size=1, continue_cut=5)


@pytest.fixture(autouse=True, scope="module")
def loaded_once():
    """One thread, and one model for all processes: those that are killed are forked from this one, and would spend their time on loading. tqdm's lock
    is shared between processes, and one that is killed while it holds it would hold up this one for ever: here each has its own."""
    import torch
    import tqdm
    import generank.inference
    import generank.backends
    torch.set_num_threads(1)
    tqdm.tqdm.set_lock(threading.RLock())
    tqdm.tqdm.monitor_interval = 0  # no thread beside the one that forks
    load = generank.backends.load_model
    generank.backends.load_model = functools.cache(load)
    yield
    generank.backends.load_model = load


def ask(path):
    from generank.inference import generate
    return generate(TOY, store=path, **SETTINGS)


def records(path):
    "Every record in the file, in order, with those of torn lines left out."
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [r for line in lines for r in json.loads(line)]


def killed(path, at_bytes, pause):
    "Ask in a process of its own and kill it -9 as soon as the store has grown to `at_bytes`, after a further pause."
    child = os.fork()
    if child == 0:
        try: ask(path)
        finally: os._exit(0)
    try:
        end = time.monotonic() + 60
        while (path.stat().st_size if path.exists() else 0) < at_bytes and os.waitpid(child, os.WNOHANG)[0] == 0 and time.monotonic() < end: time.sleep(0.0005)
        time.sleep(pause)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError): pass


def test_killed_at_twenty_random_moments(tmp_path):
    whole = tmp_path/"whole.jsonl"
    expected = ask(whole)
    assert len(expected) == 10 and expected["completion"].nunique() == 10
    size, rng, in_the_middle = whole.stat().st_size, random.Random(0), 0
    for i in range(20):
        path = tmp_path/f"{i}.jsonl"
        killed(path, rng.randrange(size), rng.random() * 0.03)
        before = {r["key"]: r for r in records(path)}
        in_the_middle += 0 < len(before) < len(records(whole))
        answers = ask(path)
        assert answers.to_dict() == expected.to_dict()
        after = records(path)
        assert len(after) == len({r["key"] for r in after}) == len(records(whole)), "an answer is missing or doubled"
        assert all(r == before.get(r["key"], r) for r in after), "an answer was changed"
        assert sorted(after, key=lambda r: r["key"]) == sorted(records(whole), key=lambda r: r["key"])
    assert in_the_middle >= 10, "the moments missed the run"


def test_one_run_killed_again_and_again(tmp_path):
    path, whole, rng = tmp_path/"again.jsonl", tmp_path/"whole.jsonl", random.Random(1)
    expected = ask(whole)
    for i in range(1, 6): killed(path, whole.stat().st_size * i // 6, rng.random() * 0.01)
    assert ask(path).to_dict() == expected.to_dict()
