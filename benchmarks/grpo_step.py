"""Seconds, tokens and memory of a GRPO step, ours and trl's: python benchmarks/grpo_step.py [--models ...] [--parts N] [--save]

Each part is a process of its own: one model, number format and side (`ours`; `trl`, an unmodified `trl.GRPOTrainer` with its transformers
generation; `trl continuous`, with its continuous batching). Sides take turns. Every process makes the same steps of 64 answers (8 loci x 8) with
the same model, data, seeds and settings; the first is not counted. trl's kernel for log-probabilities needs Triton: without it a plain log-softmax
of the same signature stands in. What a part measured is kept in runs/grpo_step/, so that a benchmark that was stopped goes on; `--parts` makes
at most so many new ones. `growth` repeats our step with groups, completions and prompts 2, 4 and 8 times as large. The matrix rate (bfloat16 or
float32, the best of products as large as a layer's) and the bandwidth of reading memory are measured in each part, before and after its steps. Processor time (of all threads) tells sides
apart where other processes take their share of the machine; with OMP_NUM_THREADS=1 it holds no waiting."""
import argparse, json, os, statistics, subprocess, sys, time
from pathlib import Path

from generank.execution import REPOSITORY

KEPT = REPOSITORY/"runs"/"grpo_step"
MODELS = {"smollm2-135m-instruct": range(14, 30), "qwen2.5-coder-1.5b-instruct": range(10, 28)}   # and the layers that LoRA trains
SIDES = "ours", "trl", "trl continuous"
GROWTH = {"answers in a group": (8, 16, 32, 64), "tokens of an answer": (24, 48, 96, 192), "candidates in a prompt": (8, 16, 32, 64)}
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def plain_log_softmax(hidden, weight, bias, targets, temperature, chunk_size, softcap=None, scale=1.0, outputs=()):
    "What trl's kernel computes, by torch's own functions."
    import torch
    logps = torch.log_softmax((hidden @ weight.T).float() * scale / temperature, -1)
    entropy = torch.special.entr(logps.detach().exp()).sum(-1) if "entropy" in outputs else None
    return logps.gather(1, targets[:, None])[:, 0], entropy, None, None, None


def best(work, seconds:float=1.5)->float:
    "The shortest time of a call, in seconds."
    began, times = time.perf_counter(), []
    while time.perf_counter() - began < seconds or len(times) < 3:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def rates(dtype, shape)->dict:
    "TFLOP/s of a product with one of the model's matrices, and GB/s of reading memory."
    import torch
    rows, weight, memory = 2048, torch.randn(*shape, dtype=dtype), torch.ones(2**28, dtype=torch.uint8).view(torch.int64)
    x = torch.randn(rows, shape[1], dtype=dtype)
    with torch.inference_mode():
        return {"tflops": 2 * rows * weight.numel() / best(lambda: torch.nn.functional.linear(x, weight)) / 1e12,
                "gb_per_second": memory.nbytes / best(memory.sum) / 1e9}


def trainer(side:str, model, tokenizer, o):
    "The trainer of a side, on the bundled loci, with the settings of `laptop`."
    import torch, trl.trainer.utils
    from types import SimpleNamespace
    from trl import GRPOConfig, GRPOTrainer
    from generank.data import load_loci
    from generank.groups import grpo_rows
    from generank.rewards import rank_reward
    from generank.trainers import grpo_trainer, shared_prompt_trainer
    if trl.trainer.utils._ChunkedLogProbFunction is None: trl.trainer.utils._ChunkedLogProbFunction = SimpleNamespace(apply=plain_log_softmax)
    rows = grpo_rows(load_loci()["train"].to_list(), 8 * (o.steps + 1), 1, style="answer", descriptions=False, genes=o.candidates)
    arguments = GRPOConfig(
        output_dir=str(KEPT/"out"), use_cpu=True, bf16=o.dtype == "bfloat16", max_steps=o.steps + 1, learning_rate=1e-5, seed=1, shuffle_dataset=False,
        num_generations=o.group, per_device_train_batch_size=o.group, gradient_accumulation_steps=8, max_completion_length=o.tokens, temperature=1.0,
        logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True, beta=0.0, loss_type="dr_grpo", scale_rewards="batch", num_iterations=1,
        gradient_checkpointing=False, use_transformers_continuous_batching=side == "trl continuous")
    kind = shared_prompt_trainer() if side == "ours" else GRPOTrainer
    return kind(model=model, processing_class=tokenizer, reward_funcs=[rank_reward], args=arguments, train_dataset=rows)


def measure(o)->dict:
    "One part: medians of the counted steps."
    import torch
    from peft import LoraConfig, get_peft_model
    from generank.models import load_model
    from generank.trainers import peak_memory
    model, tokenizer = load_model(o.model, dtype=o.dtype)
    torch.manual_seed(1)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules=PROJECTIONS, layers_to_transform=[*MODELS[o.model]]))
    shape = model.config.intermediate_size, model.config.hidden_size
    before, made, times = rates(model.dtype, shape), trainer(o.side, model, tokenizer, o), {"sample": [], "score": [], "step": [], "cpu": [], "tokens": [], "prompt_tokens": []}

    def timed(name, phase, note=None):
        inner = getattr(made, name)
        def call(*args, **kwargs):
            began = time.perf_counter()
            out = inner(*args, **kwargs)
            times[phase].append(time.perf_counter() - began)
            if note: note(out)
            return out
        setattr(made, name, call)

    def note(out):
        times["tokens"].append(sum(map(len, out[1])))
        times["prompt_tokens"].append(sum(map(len, out[0])))
    timed("_generate", "sample", note)
    timed("_calculate_rewards", "score")
    from transformers import TrainerCallback
    class Steps(TrainerCallback):
        def on_step_begin(self, *args, **kwargs): self.began = time.perf_counter(), time.process_time()
        def on_step_end(self, *args, **kwargs):
            for name, now, began in zip(("step", "cpu"), (time.perf_counter(), time.process_time()), self.began): times[name].append(now - began)
    made.add_callback(Steps())
    made.train()
    found = {k: statistics.median(v[1:] or v) for k, v in times.items()}
    after, layers = rates(model.dtype, shape), model.get_base_model().get_decoder().layers
    tflops = max(before["tflops"], after["tflops"])
    each = sum(p.numel() for n, p in layers[0].named_parameters() if p.dim() == 2 and "lora" not in n)
    head = model.get_base_model().get_output_embeddings().weight.numel()
    update, passed = found["step"] - found["sample"] - found["score"], found["tokens"] + found["prompt_tokens"] / o.group
    # forward and backward through the trained layers (what lies below needs no gradient and is known from sampling), and the head of each answer's tokens
    work = (4 * passed * each * len(MODELS[o.model]) + 4 * found["tokens"] * head) / 1e12
    return {**found, "update": update, "tokens_per_second": found["tokens"] / found["step"], "memory_gb": peak_memory(), "tflops": tflops,
            "gb_per_second": max(before["gb_per_second"], after["gb_per_second"]), "update_share": work / update / tflops,
            "sample_share": sum(p.numel() * p.element_size() for p in model.parameters()) * o.tokens / 1e9 / found["sample"] / before["gb_per_second"]}


def parts(o)->dict[str, dict]:
    "Every part by name, in the order in which they are made."
    named = {f"{m} {d} {s}": dict(model=m, dtype=d, side=s) for m in o.models for d in o.dtypes for s in SIDES}
    small = dict(model=next(iter(MODELS)), dtype="bfloat16", side="ours")
    options = dict(zip(GROWTH, ("group", "tokens", "candidates")))
    return named | {f"growth {what} {n}": {**small, options[what]: n} for what, ns in GROWTH.items() for n in ns if o.growth}


def record(found:dict):
    "results/speed/grpo_step.json, and the plot of growth beside it."
    from _record import save
    rows = []
    for name, m in found.items():
        theirs = found.get(name.removesuffix("ours") + "trl", {}).get("step") if name.endswith("ours") else None
        ratio = "" if theirs is None else f"{theirs / m['step']:.1f}"
        if "failed" in m: rows.append([name, m["failed"], *[""] * 10])
        else: rows.append([name, *(f"{m[k]:.1f}" for k in ("step", "cpu", "sample", "score", "update", "tokens_per_second", "memory_gb", "tflops", "gb_per_second")),
                           f"{m['update_share']:.2f}", ratio])
    columns = ["Part", "Step (s)", "Processor time (s)", "Sample (s)", "Score (s)", "Update (s)", "Tokens/s", "Peak memory (GB)", "Matrix rate (TFLOP/s)", "Bandwidth (GB/s)", "Update, share of the rate",
               "trl's step / ours"]
    print(save("grpo_step", "A step of 64 answers (8 loci x 8, at most 24 tokens each), medians. trl's kernel is replaced by a plain log-softmax where Triton is missing.", columns, rows))
    if any(n.startswith("growth") for n in found): plot(found)


def plot(found:dict):
    "Seconds a step against size, relative to the smallest."
    from matplotlib.figure import Figure
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    for what, sizes in GROWTH.items():
        seen = [(n / sizes[0], found[f"growth {what} {n}"]["step"]) for n in sizes if "step" in found.get(f"growth {what} {n}", {})]
        if seen: axes.plot(*zip(*seen), marker="o", label=what)
    axes.set(xlabel="times as large", ylabel="seconds a step", xlim=(0, None), ylim=(0, None))
    axes.legend()
    figure.savefig(REPOSITORY/"results"/"speed"/"grpo_step.svg")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=[*MODELS], choices=[*MODELS])
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"], choices=["bfloat16", "float32"])
    parser.add_argument("--growth", action="store_true", help="also the growth with group, completion and prompt")
    parser.add_argument("--only", default="", help="parts whose name holds this")
    parser.add_argument("--parts", type=int, default=1000, help="new parts at most")
    parser.add_argument("--limit", type=float, default=1800, help="seconds a part may take")
    parser.add_argument("--save", action="store_true", help="keep what was measured in results/speed/")
    for name, value in (("steps", 2), ("group", 8), ("tokens", 24), ("candidates", 8)): parser.add_argument(f"--{name}", type=int, default=value)
    for name in ("model", "dtype", "side"): parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.side: return print(json.dumps(measure(o)))
    KEPT.mkdir(parents=True, exist_ok=True)
    found, new = {}, 0
    for name, part in parts(o).items():
        file = KEPT/f"{name.replace(' ', '_')}.json"
        if not file.exists() and o.only in name and new < o.parts:
            new += 1
            options = [str(x) for k, v in {**part, "steps": o.steps}.items() for x in (f"--{k}", v)]
            try: done = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True, timeout=o.limit, cwd=REPOSITORY)
            except subprocess.TimeoutExpired: made = {"failed": f"no {o.steps + 1} steps in {o.limit:g} s"}
            else: made = json.loads(done.stdout.strip().splitlines()[-1]) if done.returncode == 0 else {"failed": (done.stderr.strip().splitlines() or ["?"])[-1][:200]}
            file.write_text(json.dumps(made))
        if file.exists():
            found[name] = json.loads(file.read_text())
            print(name, {k: round(v, 2) if isinstance(v, float) else v for k, v in found[name].items()}, flush=True)
    if o.save: record(found)


if __name__ == "__main__": main()
