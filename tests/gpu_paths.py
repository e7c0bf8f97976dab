"""The training paths of a GPU machine, run on a CPU: `make gpu-paths`, in the environment of `make vllm-env`.

- trl's vLLM in the training process (`vllm_mode: colocate`): vLLM's CPU build and SmolLM2-135M in float32.
- trl's vLLM as a server, with two processes; a model in the first process stands in for the server and gets each weight that is sent.
- The trainer that unsloth generates from trl's, on a random model of transformers and peft.
- FSDP2 and ZeRO-3, with two processes, gloo and a random model.
- Weights & Biases in its offline mode, whose file is read back.

What differs from a card: vLLM's linear layers keep plain weights (its packed ones can't be loaded anew), it compiles nothing and does not sleep. trl's kernel
for log-probabilities, which needs a card, is a plain log-softmax (as in tests/test_parity.py). accelerate shards between cards only, so it is told that the
processes are some. Each training is a process of its own: `python tests/gpu_paths.py FOLDER KIND`."""
import json
import os
import struct
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from generank.checkpoints import read_metrics
from generank.core import read_json

ROOT, STEPS = Path(__file__).resolve().parents[1], 8
CONFIG = {
    "profile": "gpu-paths", "seed": 1, "model": {"name": "smollm2-135m-instruct", "revision": None, "dtype": "float32"},
    "prompts": {"style": "answer", "descriptions": False}, "arm": {"name": "control", "training": "grpo", "reward": "gpu_paths:letters"},
    "grpo": {"backend": "vllm", "dynamic_sampling": 2, "lora": {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj", "up_proj", "down_proj"]},
             "select": {"every": 4, "loci": 4, "answers": 2, "patience": 0},
             "trl": {"max_steps": STEPS, "num_generations": 4, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "max_completion_length": 24,
                     "learning_rate": 1e-3, "beta": 0.0, "loss_type": "dr_grpo", "scale_rewards": "batch", "lr_scheduler_type": "constant",
                     "vllm_mode": "colocate", "vllm_enable_sleep_mode": False, "vllm_max_model_length": 1024, "vllm_gpu_memory_utilization": 0.2}}}

LOCI = [dict(locus_id=f"L{i}", trait=t, candidates=c, causal_gene=c[0]) for i, (t, c) in enumerate(
    {"asthma": ["IL13", "RAD50", "KIF3A"], "LDL": ["LDLR", "SMARCA4", "DOCK6"], "gout": ["SLC2A9", "WDR1"], "obesity": ["MC4R", "PMAIP1", "CDH20"]}.items())]


def letters(text, candidates, causal_gene):
    "A planted control: the share of capital letters."
    return sum(c.isupper() for c in text) / max(1, len(text))


def odd(text, candidates, causal_gene):
    "No variance at two of four loci, whose groups are sampled anew at others."
    return 0.0 if causal_gene in ("IL13", "LDLR") else len(text) % 7 / 7


def stop_in_step(number):
    "Let the next training end in that step, as Ctrl-C would."
    import generank.grpo
    made = generank.grpo._grpo
    def stopping(*given):
        trainer = made(*given)
        update = trainer.training_step
        def step(*a, **k):
            if trainer.state.global_step == number - 1: raise KeyboardInterrupt
            return update(*a, **k)
        trainer.training_step = step
        return trainer
    generank.grpo._grpo = stopping


def train(out, how):
    "One training; with `no-sync`, vLLM keeps the weights that it began with."
    import torch
    import trl.trainer.utils
    import vllm._custom_ops
    from trl.generation import vllm_generation as theirs
    from vllm.model_executor.layers import utils as layers

    import generank.grpo
    from generank.data import load_loci
    from test_parity import plain_log_softmax
    vllm._custom_ops._supports_onednn, layers.check_cpu_sgl_kernel = False, lambda *a: False
    theirs.LLM = partial(theirs.LLM, dtype="float32", enforce_eager=True)   # the model's folder says bfloat16; compiling takes minutes
    trl.trainer.utils._ChunkedLogProbFunction = SimpleNamespace(apply=plain_log_softmax)
    generank.grpo.training_backend = lambda config: ("vllm", "this script says so")
    real, syncs = theirs.VLLMGeneration.sync_weights, []
    def sync(engine):
        syncs.append(1)
        if how != "no-sync": real(engine)
    theirs.VLLMGeneration.sync_weights = sync
    loci = load_loci()
    if "STOP" in os.environ: stop_in_step(int(os.environ["STOP"]))
    generank.grpo.train(CONFIG, loci["train"].to_list()[:12], out, validation=loci["validation"].to_list()[:4])
    print("syncs", len(syncs))


def serve(out):
    "Two processes and a vLLM server, for which a model stands in that takes the weights sent to it: answers from the prompt alone, with its log-probabilities."
    import torch
    import trl.trainer.utils
    from trl.generation import vllm_generation as theirs

    import generank.grpo
    from generank.core import stable_seed, write_json
    from generank.models import load_model
    from test_parity import plain_log_softmax
    model, got = load_model("random-llama", dtype="float32")[0], []

    class Client:
        "What trl's `VLLMClient` is asked."
        def __init__(self, **given): pass
        def init_communicator(self, device): pass
        def reset_prefix_cache(self): pass
        def update_named_params(self, metadata, weights):
            weights = {name: value.clone() for name, value in weights}
            assert [m[0] for m in metadata] == list(weights)
            assert not model.load_state_dict(weights, strict=False).unexpected_keys
            got.append("sync")

        def generate(self, prompts, features, n, **settings):
            got.append(len(prompts))
            draw = lambda p, i: torch.randint(10, 300, (5 + i,), generator=torch.Generator().manual_seed(stable_seed(list(p), i))).tolist()
            ids = [draw(p, i) for p in prompts for i in range(n)]
            told = [model(torch.tensor([p + x])).logits[0, len(p) - 1:-1].log_softmax(-1)[range(len(x)), x] for p, x in zip((p for p in prompts for _ in range(n)), ids)]
            return {"prompt_ids": prompts, "completion_ids": ids, "logprobs": [x[:, None].tolist() for x in told], "logprob_token_ids": [[[t] for t in x] for x in ids]}
    theirs.VLLMClient, theirs.is_vllm_available = Client, lambda: True
    trl.trainer.utils._ChunkedLogProbFunction = SimpleNamespace(apply=plain_log_softmax)
    generank.grpo.training_backend = lambda config: ("vllm", "this script says so")
    grpo = {**CONFIG["grpo"], "select": None, "lora": {"r": 4, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": "gaussian"},
            "trl": {**CONFIG["grpo"]["trl"], "max_steps": 3, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_completion_length": 10, "learning_rate": 1e-2, "vllm_mode": "server",
                    "vllm_server_base_url": "http://127.0.0.1:9"}}
    arm = {"name": "served", "training": "grpo", "reward": "gpu_paths:odd"}
    generank.grpo.train({**CONFIG, "model": {"name": "random-llama", "revision": None, "dtype": "float32"}, "arm": arm, "grpo": grpo}, LOCI, out)
    write_json(out/f"got_{os.environ['RANK']}.json", got)


def unsloths(out):
    "Training by the trainer that unsloth generates from trl's, on a model of transformers and peft."
    os.environ["UNSLOTH_ALLOW_CPU"] = "1"
    import unsloth
    import unsloth.models.rl
    os.environ["UNSLOTH_ALLOW_CPU"] = "0"   # else it leaves trl as it is
    unsloth.models.rl.PatchFastRL("GRPO", unsloth.FastLanguageModel)

    import generank.grpo
    from generank.models import load_model
    generank.grpo.training_backend = lambda config: ("unsloth", "this script says so")
    def load(name, revision, lora, settings, seed, adapter=None, thinking=None):
        import torch
        from peft import LoraConfig, get_peft_model
        torch.manual_seed(seed)
        model, tokenizer = load_model(name, dtype="float32", adapter=adapter, trainable=True)
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **lora))
        model.for_training, model.for_inference = lambda *a, **k: model.train(), lambda *a, **k: model.eval()
        return model, tokenizer
    generank.grpo.load_unsloth = load
    if "STOP" in os.environ: stop_in_step(int(os.environ["STOP"]))
    grpo = {**CONFIG["grpo"], "backend": "unsloth", "unsloth": {"load_in_4bit": False}, "lora": {"r": 4, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": "gaussian"},
            "trl": {k: v for k, v in CONFIG["grpo"]["trl"].items() if "vllm" not in k} | {"max_completion_length": 8, "optim": "adamw_torch"}}
    arm = {"name": "unsloth", "training": "grpo", "reward": "gpu_paths:odd"}
    generank.grpo.train({**CONFIG, "model": {"name": "random-llama", "revision": None, "dtype": "float32"}, "arm": arm, "grpo": grpo}, LOCI, out, validation=LOCI)
    print([c.__name__ for c in generank.grpo.grpo_trainer().__mro__])


def tracked(out):
    "Two steps that report to Weights & Biases, which writes to the disk alone."
    import generank.grpo
    grpo = {**CONFIG["grpo"], "backend": "shared", "select": None, "dynamic_sampling": 0, "lora": {"r": 4, "target_modules": ["q_proj"]},
            "trl": {k: v for k, v in CONFIG["grpo"]["trl"].items() if "vllm" not in k} | {"max_steps": 2, "max_completion_length": 8, "report_to": "wandb"}}
    arm = {"name": "tracked", "training": "grpo", "reward": "gpu_paths:odd"}
    generank.grpo.train({**CONFIG, "model": {"name": "random-llama", "revision": None, "dtype": "float32"}, "arm": arm, "grpo": grpo}, LOCI, out)


def wandb_records(data):
    "The messages in a .wandb file: a LevelDB log of 32 KiB blocks; each part has a checksum, its length and its kind (1 whole, 2 first, 3 middle, 4 last)."
    from wandb.proto.wandb_internal_pb2 import Record
    at, kept = 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7: at += 32768 - at % 32768
        size, kind = struct.unpack_from("<HB", data, at + 4)
        kept += data[at + 7:at + 7 + size]
        at += 7 + size
        if kind in (1, 4):
            yield Record.FromString(kept)
            kept = b""


def shard(out, kind):
    "Two steps with trl's own sampling: all weights (`whole` and `fsdp`), or a LoRA with the base weights in shards (`lora` and `zero3`)."
    import accelerate.state
    import torch
    import trl.trainer.utils

    import generank.grpo
    from generank.core import write_json
    from test_parity import plain_log_softmax
    trl.trainer.utils._ChunkedLogProbFunction = SimpleNamespace(apply=plain_log_softmax)
    generank.grpo.training_backend = lambda config: ("transformers", "this script says so")
    if kind in ("fsdp", "zero3"):   # accelerate shards between cards only, so it takes these two processes for some
        torch.distributed.init_process_group("gloo")
        accelerate.state.PartialState._prepare_backend = lambda *given: ("gloo", accelerate.state.DistributedType.MULTI_GPU)
    lora = None if kind in ("whole", "fsdp") else {"r": 4, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": "gaussian"}
    grpo = {**CONFIG["grpo"], "backend": "transformers", "select": None, "dynamic_sampling": 1, "lora": lora,
            "trl": {k: v for k, v in CONFIG["grpo"]["trl"].items() if "vllm" not in k} | {"max_steps": 2, "per_device_train_batch_size": 4, "max_completion_length": 8, "optim": "adamw_torch"}}
    arm = {"name": "sharded", "training": "grpo", "reward": "gpu_paths:odd"}
    made, kept = generank.grpo._grpo, []
    generank.grpo._grpo = lambda *given: kept.append(made(*given)) or kept[0]
    generank.grpo.train({**CONFIG, "model": {"name": "random-llama", "revision": None, "dtype": "bfloat16" if lora else "float32"}, "arm": arm, "grpo": grpo}, LOCI, out)
    write_json(out/f"kind_{os.environ['RANK']}.json", sorted({type(p).__name__ + (" in shards" if hasattr(p, "ds_id") else "") for p in kept[0].model.parameters()}))


def launcher(kind):
    "What accelerate's launcher tells the processes, from its file; it can't be asked for two processes on a CPU in shards."
    import yaml
    if kind not in ("fsdp", "zero3"): return {}
    read = yaml.safe_load((ROOT/"generank"/"launch"/f"{kind}.yaml").read_text())
    words = lambda settings, begins: {begins + k.upper(): str(v).lower() if isinstance(v, bool) else str(v) for k, v in settings.items()}
    if kind == "fsdp": return {"ACCELERATE_USE_FSDP": "true", **words(read["fsdp_config"], "")}
    settings = {k.replace("zero3_init_flag", "zero3_init"): v for k, v in read["deepspeed_config"].items()}
    return {"ACCELERATE_USE_DEEPSPEED": "true", "DS_ACCELERATOR": "cpu", **words(settings, "ACCELERATE_DEEPSPEED_")}


ENV = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING",
       "UNSLOTH_DISABLE_STATISTICS": "1", "UNSLOTH_COMPILE_DISABLE": "1", "UNSLOTH_COMPILE_LOCATION": tempfile.gettempdir() + "/unsloth-compiled", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def ran(out, kind, processes=1, **env):
    "One of the trainings below, in so many processes."
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)] if processes > 1 else []
    env = {**ENV, **launcher(kind), **({"ACCELERATE_USE_CPU": str(kind != "zero3").lower(), "ACCELERATE_TORCH_DEVICE": "cpu"} if several else {}), **env}
    return subprocess.run([sys.executable, *several, __file__, str(out), kind], env=env, cwd=Path(out).parent, capture_output=True, text=True, timeout=1500)


def logged(folder): return read_metrics(folder/"metrics.jsonl")


@pytest.fixture(scope="module")
def colocated(tmp_path_factory):
    "A training by trl's vLLM in the training process, made in one go."
    folder = tmp_path_factory.mktemp("vllm")/"whole"
    done = ran(folder, "go")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout


def test_a_reward_rises_and_vllm_has_the_weights_of_each_step(colocated):
    rows = [r for r in logged(colocated[0]) if "reward" in r]
    assert [r["step"] for r in rows] == list(range(1, STEPS + 1))
    assert sum(r["reward"] for r in rows[-3:]) / 3 > sum(r["reward"] for r in rows[:3]) / 3 + 0.05, [r["reward"] for r in rows]
    assert max(r["sampling/apart"] for r in rows) < 1e-3 and max(r["grad_norm"] for r in rows) > 0.01
    assert colocated[1].splitlines()[-1] == f"syncs {STEPS + 1}", "one for the pilot's weights and one a step, however often it samples"


def test_validation_is_asked_and_chooses(colocated):
    rows = [r for r in logged(colocated[0]) if "eval_rewards/rank_reward/mean" in r]
    assert [r["step"] for r in rows] == [4, 8] and read_json(colocated[0]/"training.json")["chosen"]["step"] in (4, 8)


def test_a_stopped_training_goes_on_with_its_weights_in_vllm(colocated, tmp_path):
    stopped = ran(tmp_path/"arm", "go", STOP="6")
    assert stopped.returncode != 0 and "KeyboardInterrupt" in stopped.stderr and not (tmp_path/"arm"/"training.json").exists()
    done = ran(tmp_path/"arm", "go")
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [r for r in logged(tmp_path/"arm") if "reward" in r]
    assert [r["step"] for r in rows] == list(range(1, STEPS + 1)) and max(r["sampling/apart"] for r in rows) < 1e-3


def test_the_trainer_that_unsloth_generates(tmp_path):
    "It trains and validates under our trainer, and a stopped training ends as one that was not."
    whole = ran(tmp_path/"whole", "unsloth")
    assert whole.returncode == 0 and "_UnslothGRPOTrainer" in whole.stdout, whole.stderr[-3000:]
    assert ran(tmp_path/"arm", "unsloth", STOP="6").returncode != 0 and not (tmp_path/"arm"/"training.json").exists()
    assert ran(tmp_path/"arm", "unsloth").returncode == 0
    for folder in (tmp_path/"whole", tmp_path/"arm"):
        steps, checks = ([r for r in logged(folder) if name in r] for name in ("reward", "eval_rewards/rank_reward/mean"))
        assert [r["step"] for r in steps] == list(range(1, STEPS + 1)) and [r["step"] for r in checks] == [4, 8]
        assert all(0 <= r["groups/replaced"] <= 2 and r["grad_norm"] >= 0 for r in steps) and max(r["grad_norm"] for r in steps) > 0.1 and not any("groups/replaced" in r for r in checks)
    assert (tmp_path/"arm"/"adapter_model.safetensors").read_bytes() == (tmp_path/"whole"/"adapter_model.safetensors").read_bytes()


def test_a_sampler_without_the_trained_weights_stops_the_training(tmp_path):
    done = ran(tmp_path/"arm", "no-sync")
    assert done.returncode != 0 and "weights are not those that are trained" in done.stderr, done.stderr[-3000:]


def test_two_processes_and_a_server(tmp_path):
    "Groups without variance are sampled anew on both, and the server gets the weights once a step."
    done = ran(tmp_path/"arm", "serve", processes=2)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (read_json(tmp_path/"arm"/f"got_{i}.json") for i in (0, 1))
    assert first == ["sync", 4, 2, 2] * 3 and second == []
    rows = logged(tmp_path/"arm")
    assert [r["groups/replaced"] for r in rows] == [1.0] * 3 and max(r["sampling/apart"] for r in rows) < 1e-4


def test_weights_and_biases_offline_gets_what_the_log_has(tmp_path):
    key = "planted0wandb0key" * 3
    done = ran(tmp_path/"arm", "wandb", WANDB_MODE="offline", WANDB_API_KEY=key, WANDB_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    file, = tmp_path.glob("wandb/offline-run-*/*.wandb")
    records = list(wandb_records(file.read_bytes()))
    assert [r.run.display_name for r in records if r.HasField("run")][:1] == ["gpu-paths tracked seed 1"]
    rows = [{i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in r.history.item} for r in records if r.HasField("history")]
    assert [r["train/reward"] for r in rows if "train/reward" in r] == [r["reward"] for r in logged(tmp_path/"arm")]
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and key.encode() in p.read_bytes()]


@pytest.mark.parametrize("kind, plain, file, near", [("fsdp", "whole", "model.safetensors", 1e-5), ("zero3", "lora", "adapter_model.safetensors", 0.01)])
def test_weights_in_shards_train_as_whole_ones(kind, plain, file, near, tmp_path):
    "FSDP2 on all weights in float32; ZeRO-3 on a LoRA in bfloat16, which keeps the adapter in bfloat16 where one process has it in float32."
    from safetensors.torch import load_file
    for name in (kind, plain):
        done = ran(tmp_path/name, name, processes=2)
        assert done.returncode == 0, done.stderr[-3000:]
    assert read_json(tmp_path/kind/"kind_0.json") == read_json(tmp_path/kind/"kind_1.json") == [{"fsdp": "DTensor", "zero3": "Parameter in shards"}[kind]]
    sharded, whole = (load_file(tmp_path/name/file) for name in (kind, plain))
    assert set(whole) <= set(sharded) and max(float((sharded[k].float() - whole[k].float()).abs().max()) for k in whole) < near
    moved = [a["grad_norm"] for a in logged(tmp_path/kind)], [a["grad_norm"] for a in logged(tmp_path/plain)]
    assert moved[0] == pytest.approx(moved[1], rel=0.01) and min(moved[0]) > 0.1


if __name__ == "__main__":
    if sys.argv[2] == "serve": serve(Path(sys.argv[1]))
    elif sys.argv[2] == "unsloth": unsloths(Path(sys.argv[1]))
    elif sys.argv[2] == "wandb": tracked(Path(sys.argv[1]))
    elif sys.argv[2] in ("whole", "fsdp", "lora", "zero3"): shard(Path(sys.argv[1]), sys.argv[2])
    else: train(Path(sys.argv[1]), sys.argv[2])
