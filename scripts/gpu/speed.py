"""Seconds of a GRPO step with a model of 8 billion random weights, the faithful batch, and the ways of sampling side by side, beside the floor of this very card.

The settings are those of the profile h100-faithful, except what can't be had here: bfloat16 weights in place of four bits, torch's AdamW in place of the
paged 8-bit one, and random weights, whose answers all run to the longest length
(so no pilot asks whether they are worth training on). The first step warms up and is not counted. A way that can't be run
leaves its reason.
"""
import gc
import shutil
import statistics
import sys
import time

from common import Part, UserError, arguments, call, clock, ended, log, quiet, work, model_shape, step_floor

BACKENDS = ("transformers", "continuous", "shared", "unsloth", "vllm")


def on_card()->bool:
    import torch
    return torch.cuda.is_available()


def timed(work_, repeats:int)->float:
    "Median seconds of some work on the device, after two warm-ups."
    import torch
    took = []
    for i in range(repeats + 2):
        if on_card():
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record(); work_(); end.record(); torch.cuda.synchronize()
            took.append(begin.elapsed_time(end) / 1e3)
        else:
            began = time.perf_counter(); work_(); took.append(time.perf_counter() - began)
    return statistics.median(took[2:])


def ceilings(size:int, side:int, repeats:int=10)->dict:
    "What the card can do: bytes a second of a copy (read and written), operations a second of a bfloat16 matrix product on random numbers."
    import torch
    place = "cuda" if on_card() else "cpu"
    source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=place)
    target = torch.empty_like(source)
    copied = timed(lambda: target.copy_(source), repeats)
    if not torch.equal(target[-1024:], source[-1024:]): raise RuntimeError("the copy did not copy")
    a, b = (torch.randn(side, side, device=place, dtype=torch.bfloat16) for _ in range(2))
    multiplied = timed(lambda: a @ b, repeats)
    return {"copy": 2 * size / copied, "matrix": 2 * side**3 / multiplied, "copy_bytes": 2 * size, "matrix_side": side}


def settings(options, backend:str)->dict:
    "The resolved profile of one row."
    from generank.profile import resolve
    trl = {"max_steps": options.steps, "num_generations": options.group, "per_device_train_batch_size": options.group, "gradient_accumulation_steps": options.answers // options.group,
           "max_completion_length": options.tokens, "optim": "adamw_torch", "log_completions": "false", "save_strategy": "'no'"}
    more = [f"grpo.trl.{k}={v}" for k, v in trl.items()]
    config = resolve("h100-faithful", [f"model.name={options.model}", "model.revision=null", "model.quantization=null", f"model.dtype={options.dtype}", f"grpo.backend={backend}", "grpo.generation_timeout=null", "grpo.pilot=null",
                                       f"prompts.style={options.style}", *more])
    return {**config, "arm": next(a for a in config["arms"] if a["training"] == "grpo")}


def short_prompts(options)->list[dict]:
    "Bundled loci whose prompts are as short as the first run's, at most 256 tokens."
    import pandas as pd
    from generank.genes import BUNDLED
    from generank.models import SHAPES, _random_llama, load_model
    from generank.prompts import build_prompt
    tokenizer = _random_llama(options.model, device="meta")[1] if options.model in SHAPES else load_model(options.model)[1]
    loci = pd.read_parquet(BUNDLED/"loci.parquet").to_dict("records")
    count = lambda l: len(tokenizer.apply_chat_template(build_prompt(l["trait"], list(l["candidates"]), options.style, False), add_generation_prompt=True, return_dict=True)["input_ids"])
    kept = [l for l in loci if count(l) <= options.prompt][:max(64, options.answers // options.group)]
    if not kept: raise UserError(f"No bundled locus has a prompt of at most {options.prompt} tokens: raise --prompt.")
    return kept


def shape(options)->dict:
    from generank.models import SHAPES, _random_llama, load_model
    return model_shape(_random_llama(options.model, device="meta")[0] if options.model in SHAPES else load_model(options.model)[0])


def time_backend(options, backend:str, rates:dict, loci)->dict:
    "Train some steps with one way of sampling; medians over the steps but the first."
    import torch
    from generank.checkpoints import read_metrics
    from generank.grpo import train
    config, out = settings(options, backend), work()/"speed"/backend
    shutil.rmtree(out, ignore_errors=True)
    gc.collect()
    if on_card(): torch.cuda.empty_cache(); torch.cuda.reset_peak_memory_stats()
    summary = train(config, loci, out)
    rows = read_metrics(out/"metrics.jsonl")
    tokens = [b["num_tokens"] - a["num_tokens"] for a, b in zip([{"num_tokens": 0}, *rows], rows)]
    counted = rows[1:] or rows
    middle = lambda f: statistics.median(map(f, counted))
    answer = middle(lambda r: r["completions/mean_length"])
    prompt = statistics.median(tokens[1:] or tokens) / options.answers - answer
    generate, whole = middle(lambda r: r["time/sample"]), middle(lambda r: r["seconds"])
    floor = {} if "failed" in rates else {"floor": step_floor(shape(options), options.answers, options.answers // options.group, prompt, answer, rates["copy"], rates["matrix"],
                                                              reference=config["grpo"]["trl"]["beta"] > 0, width=2 if options.dtype == "bfloat16" else 4)}
    return {"backend": backend, "generate": generate, "train": whole - generate, "seconds": whole, "tokens_per_second": options.answers * answer / generate,
            "memory_gb": summary["memory_gb"], "steps": len(counted), "prompt_tokens": prompt, "answer_tokens": answer, **floor, "warmed_up": len(rows) > 1}


def told(row:dict)->str: return f"floor {row['floor']['generate']:.2f} + {row['floor']['train']:.2f}" if "floor" in row else "no floor"


def main(argv)->int:
    parser = arguments("speed", __doc__.split("\n")[0])
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS), help="ways of sampling, in this order")
    parser.add_argument("--model", default=None, help="random-llama-8b, in miniature random-llama; or any model that loads here")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="format of the weights")
    parser.add_argument("--style", default="standard", help="prompt style")
    parser.add_argument("--prompt", type=int, default=256, help="longest prompt, in tokens")
    parser.add_argument("--answers", type=int, default=None, help="answers a step; 128, in miniature 8")
    parser.add_argument("--group", type=int, default=None, help="answers a prompt; 16, in miniature 4")
    parser.add_argument("--tokens", type=int, default=None, help="longest answer; 500, in miniature 8")
    parser.add_argument("--steps", type=int, default=None, help="steps of each row, the first of them uncounted; 3, in miniature 2")
    parser.add_argument("--needed", type=float, default=None, help="seconds that must be left for a row to begin; 60, in miniature 5")
    parser.add_argument("--again", action="store_true", help="do every row again")
    options = parser.parse_args(argv)
    full, small = dict(model="random-llama-8b", answers=128, group=16, tokens=500, steps=3, needed=60), dict(model="random-llama", answers=8, group=4, tokens=8, steps=2, needed=5)
    for k, v in (small if options.miniature else full).items():
        if getattr(options, k) is None: setattr(options, k, v)
    if options.answers % options.group: raise UserError(f"--answers {options.answers} is no multiple of --group {options.group}: answers come in whole groups.")
    quiet()
    part = Part("speed", options)
    sizes = (2**20, 128) if options.miniature else (2**32, 8192)
    with clock(part):
        part.row("ceilings", ceilings, *sizes)
        rates = part.rows["ceilings"]
        loci = short_prompts(options)
        for backend in options.backends: part.row(backend, time_backend, options, backend, rates, loci, needed=options.needed)
    for backend in options.backends:
        r = part.rows.get(backend, {"failed": "not reached"})
        print(f"{backend:14}" + (r["failed"] if "failed" in r else f"{r['seconds']:8.2f} s a step = {r['generate']:.2f} generate + {r['train']:.2f} train; {told(r)}; {r['tokens_per_second']:.0f} tokens/s, {r['memory_gb']:.1f} GB"))
    unavailable = {b for b in options.backends if "UserError" in part.rows.get(b, {}).get("failed", "")}   # a way that isn't there is an answer, not a failure
    for b in unavailable: log.info("%s was tried and can't run here", b)
    part.failures = lambda every=part.failures: [n for n in every() if n not in unavailable]
    return ended(part)


if __name__ == "__main__": sys.exit(call(main))
