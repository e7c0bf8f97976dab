"""What must be the same on a card as on a processor: rewards, log-probabilities, gradients, greedy answers, continuous batching, and a training that was interrupted.

Each row has a `value`, the `bound` that it must keep, and whether it `passed`. Errors of log-probabilities and gradients are relative: the length of the
difference over the length of the reference, which is the plain computation in float32 on the processor, one answer at a time; log-probabilities are taken
about their mean, since most of their length says how large the vocabulary is.
"""
import copy
import math
import os
import sys
import tempfile
from pathlib import Path

from common import ROOT, Part, UserError, arguments, call, clock, ended, log, quiet, read_json, said

BOUNDS = {"float32": 1e-3, "bfloat16": 5e-2}   # of relative errors; float32 keeps far below its bound, bfloat16 has 8 bits of precision
ALIKE = 0.95                                   # share of greedy answers that are the same in float32: near ties may fall differently


def device()->str:
    import torch
    return "cuda" if torch.cuda.is_available() else "cpu"


def below(value:float, bound:float, what:str, **more)->dict:
    if not math.isfinite(value): return {"value": None, "bound": bound, "passed": False, "what": f"{what}: not finite"}
    return {"value": float(value), "bound": bound, "passed": bool(value <= bound), "what": what, **more}


def share(value:float, bound:float|None, what:str, **more)->dict:
    return {"value": float(value), "bound": bound, "passed": None if bound is None else bool(value >= bound), "what": what, **more}


def rewards(seeds)->dict:
    "Gold answers of every bundled locus, and the recorded answers scored again."
    import pandas as pd
    from generank.genes import BUNDLED
    from generank.rewards import check_gold
    from generank.scoring import score_responses
    proved, worst, answers = check_gold(pd.read_parquet(BUNDLED/"loci.parquet").to_dict("records")), 0.0, 0
    for folder in seeds:
        recorded = {r["name"]: r for r in read_json(folder/"evaluation"/"metrics.json")["runs"]}
        for file in sorted((folder/"responses").glob("*.parquet")):
            scores = score_responses(file)
            worst, answers = max(worst, abs(scores.mrr.mean() - recorded[file.stem]["mrr"])), answers + len(scores)
    if not answers: raise UserError("results/laptop-long holds no recorded answers to score again.")
    return below(worst, 1e-9, "largest difference of a recorded mean reciprocal rank, scored again here", gold_loci=proved, answers=answers)


def sample_batch(tokenizer, loci, groups:int, answers:int):
    "Prompts with answers to score: lists of candidates, as `group_logps` takes them."
    from generank.groups import pack_rows
    from generank.prompts import warm_start_rows
    return pack_rows(tokenizer, warm_start_rows(loci, groups, answers, 1, style="brief", descriptions=False))


def reference_logps(model, batch):
    "Log-probability of every answer's tokens, one answer at a time through the whole model, without padding."
    import torch
    rows, width = [], batch["answer_ids"].size(2)
    with torch.no_grad():
        for g in range(len(batch["prompt_ids"])):
            prompt = batch["prompt_ids"][g][batch["prompt_mask"][g].bool()]
            for a, mask in zip(batch["answer_ids"][g], batch["answer_mask"][g]):
                said_ = a[mask.bool()]
                logits = model(input_ids=torch.cat([prompt, said_])[None].to(model.device)).logits[0, len(prompt) - 1:-1].float()
                logps = torch.log_softmax(logits, -1).gather(1, said_.to(logits.device)[:, None])[:, 0]
                rows.append(torch.nn.functional.pad(logps, (0, width - len(logps))))
    return torch.stack(rows).cpu()


def packed_logps(model, batch, grad:bool=False):
    "The same by `group_logps`, as training does it."
    import torch
    from generank.groups import group_logps
    on = {k: v.to(model.device) for k, v in batch.items()}
    with torch.set_grad_enabled(grad): logps, _ = group_logps(model, on["prompt_ids"], on["prompt_mask"], on["answer_ids"], on["answer_mask"], 1.0)
    return logps * on["answer_mask"].view_as(logps)


def relative(found, reference, mask=None)->float:
    "Length of the difference over that of the reference, in float64; with a mask of what counts, the reference is taken about its mean. Not finite counts as infinite."
    import torch
    found, reference = found.double().cpu(), reference.double().cpu()
    if mask is not None: found, reference = found[mask], reference[mask]
    d = (found - reference).norm() / (reference if mask is None else reference - reference.mean()).norm()
    return float(d) if torch.isfinite(d) else float("inf")


class Models:
    "The model in each format and place, loaded when it is first asked for, always from the same weights."
    def __init__(self, name): self.name, self.made = name, {}

    def get(self, dtype:str, place:str):
        import torch
        from generank.models import load_model
        if (dtype, place) not in self.made:
            model, tokenizer = load_model(self.name, dtype="float32")
            self.made[dtype, place] = model.to(getattr(torch, dtype)).to(place).eval(), tokenizer
        return self.made[dtype, place]


def logps(models, loci, dtype, packed, groups, answers)->dict:
    import torch
    reference, tokenizer = models.get("float32", "cpu")
    batch = sample_batch(tokenizer, loci, groups, answers)
    expected = reference_logps(reference, batch)
    model, _ = models.get(dtype, device())
    found = (packed_logps if packed else reference_logps)(model, batch).cpu()
    poisoned = {**batch, "prompt_ids": torch.where(batch["prompt_mask"].bool(), batch["prompt_ids"], 5), "answer_ids": torch.where(batch["answer_mask"].bool(), batch["answer_ids"], 5)}
    counts = batch["answer_mask"].view_as(expected).bool()
    again = relative(packed_logps(model, poisoned), packed_logps(model, batch), counts) if packed else 0.0   # what stands in the padding must not matter
    return below(max(relative(found, expected, counts), again), BOUNDS[dtype], f"relative error of {int(batch['answer_mask'].sum())} log-probabilities on {device()}",
                 largest=float((found - expected).abs().max()), padding=again)


def gradient(models, loci, dtype, groups, answers)->dict:
    import torch
    from peft import LoraConfig, get_peft_model
    def of(dtype, place):
        base, tokenizer = models.get(dtype, place)
        torch.manual_seed(1)
        model = get_peft_model(copy.deepcopy(base), LoraConfig(task_type="CAUSAL_LM", r=8, target_modules=["q_proj", "v_proj"], init_lora_weights="gaussian")).train()
        for n, p in model.named_parameters():
            if "lora_B" in n: p.data.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())) * 0.01)   # at zero, half of the gradients would be
            if "lora_A" in n: p.data.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel() + 1)) * 0.05)
        batch = sample_batch(tokenizer, loci, groups, answers)
        with torch.autocast(place, torch.bfloat16, enabled=dtype == "bfloat16"): loss = -packed_logps(model, batch, grad=True).sum() / batch["answer_mask"].sum()
        loss.backward()
        return torch.cat([p.grad.double().flatten().cpu() for p in model.parameters() if p.requires_grad])
    expected, found = of("float32", "cpu"), of(dtype, device())
    return below(relative(found, expected), {"float32": 1e-3, "bfloat16": 0.1}[dtype], f"relative error of the gradient of {len(expected)} LoRA weights on {device()}",
                 cosine=float(torch.nn.functional.cosine_similarity(found, expected, dim=0)))


def greedy(models, loci, how:str, dtype:str, count:int, tokens:int)->list[list[int]]:
    "Token ids of greedy answers, up to and with the end token."
    import torch
    from generank.groups import left_pad, sample_groups
    from generank.backends import end_tokens, prompt_tokens
    from generank.prompts import build_prompt
    from transformers import GenerationConfig
    model, tokenizer = models.get(dtype, device())
    prompts = [prompt_tokens(tokenizer, build_prompt(l["trait"], list(l["candidates"]), "brief", False)) for l in loci[:count]]
    ends, pad = end_tokens(model, tokenizer), tokenizer.pad_token_id
    settings = GenerationConfig(max_new_tokens=tokens, do_sample=False, eos_token_id=ends, pad_token_id=pad)
    if how == "packed": rows = sample_groups(model, prompts, 1, tokens, 0.0, ends, pad)
    elif how == "plain":
        ids, mask = left_pad(prompts, pad, model.device)
        with torch.no_grad(): rows = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)[:, ids.size(1):].tolist()
    else:
        from transformers import ContinuousBatchingConfig
        blocks = len(prompts) * -(-(max(map(len, prompts)) + tokens) // 256) + 2   # no more than these prompts fill; by itself it takes nine tenths of the memory
        room = ContinuousBatchingConfig(num_blocks=blocks, max_batch_tokens=min(8192, sum(map(len, prompts))))
        answered = copy.deepcopy(model).generate_batch(inputs=prompts, generation_config=settings, continuous_batching_config=room, progress_bar=False)   # a copy: it changes how the model attends
        rows = [answered[k].generated_tokens for k in sorted(answered, key=lambda k: int(k.rsplit("_", 1)[-1]))]
    return [r[:next((i + 1 for i, t in enumerate(r) if t in ends), len(r))] for r in rows]


def same_answers(models, loci, how, dtype, bound, count, tokens)->dict:
    one, two = (greedy(models, loci, h, dtype, count, tokens) for h in (how, "plain"))
    if len(one) != len(two): raise RuntimeError(f"{how} gave {len(one)} answers to {len(two)} prompts")
    ahead = [next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b))) / max(len(a), len(b)) for a, b in zip(one, two)]
    return share(sum(a == b for a, b in zip(one, two)) / len(one), bound, f"share of {len(one)} greedy answers that are those of plain generation in {dtype} on {device()}",
                 before_the_first_difference=sum(ahead) / len(ahead), tokens=sum(map(len, two)))




def resume(model:str, loci, steps:int, deterministic:bool)->dict:
    "Train, train again, and train with an interruption: whether all three leave the same bytes."
    import torch
    from generank.checkpoints import newest_checkpoint, read_metrics
    from generank.grpo import train
    config = {"seed": 1, "model": {"name": model, "dtype": "auto"}, "prompts": {"style": "answer", "descriptions": False}, "arm": {"name": "resume", "training": "grpo", "reward": "interrupted:spaces"},
              "grpo": {"backend": "shared", "dynamic_sampling": 1, "generation_timeout": None, "lora": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]},
                       "trl": {"max_steps": steps, "num_generations": 4, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "steps_per_generation": 3, "num_iterations": 2,
                               "max_completion_length": 12, "learning_rate": 1e-2, "beta": 0.0, "save_steps": 2, "log_completions": True, "logging_steps": 1}}}
    def reward(stop_after):
        def spaces(completions, trainer_state, **kwargs):
            if stop_after and trainer_state.global_step >= stop_after: raise KeyboardInterrupt
            return [float(" " in c) for c in completions]
        return spaces
    def go(out, stop_after=None):
        sys.modules["interrupted"] = type(sys)("interrupted")
        sys.modules["interrupted"].spaces = reward(stop_after)
        train(config, loci, out)
    def outcome(out):
        clocks = ("seconds", "tokens_per_second", "memory_gb", "step_time")
        rows = [{k: v for k, v in r.items() if k not in clocks and not k.startswith("time/")} for r in read_metrics(out/"metrics.jsonl")]
        return rows, (out/"adapter_model.safetensors").read_bytes()
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    try:
        with tempfile.TemporaryDirectory() as t:
            alone, twice, broken = (Path(t)/n for n in ("alone", "twice", "broken"))
            go(alone)
            go(twice)
            try: go(broken, stop_after=2)
            except KeyboardInterrupt: pass
            else: raise RuntimeError("the training was not interrupted")
            saved = newest_checkpoint(broken/"checkpoints")
            if saved is None or (broken/"training.json").exists(): raise RuntimeError("the training was not interrupted between two of its steps")
            go(broken)
            same = {"repeats": outcome(alone) == outcome(twice), "resumes": outcome(alone) == outcome(broken)}
    finally: torch.use_deterministic_algorithms(before)
    return {"value": float(same["resumes"]), "bound": 1.0, "passed": same["resumes"], **same, "from": saved.name, "what": f"whether an interrupted training of {steps} steps ends with the bytes of one left alone, on {device()}"}


def resume_tests(selection:list[str], seconds:float)->dict:
    "tests/test_resume.py here: killed at five moments, stopped by SIGTERM."
    done = said(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_resume.py", *selection, cwd=ROOT, timeout=seconds, env={**os.environ, "PYTHONPATH": str(ROOT)})
    last = (done.stdout.strip().splitlines() or [done.stderr[-300:]])[-1]
    if done.returncode: log.warning("%s", done.stdout[-3000:])
    return {"value": float(done.returncode), "bound": 0.0, "passed": done.returncode == 0, "what": f"tests/test_resume.py: {last}"}


def main(argv)->int:
    parser = arguments("correctness", __doc__.split("\n")[0])
    parser.add_argument("--model", default=None, help="model of the checks; smollm2-135m-instruct, in miniature random-llama")
    parser.add_argument("--groups", type=int, default=None, help="prompts that are scored; 16, in miniature 2")
    parser.add_argument("--answers", type=int, default=None, help="answers a prompt; 8, in miniature 3")
    parser.add_argument("--prompts", type=int, default=None, help="prompts that are answered greedily; 64, in miniature 4")
    parser.add_argument("--tokens", type=int, default=None, help="longest greedy answer; 64, in miniature 8")
    parser.add_argument("--steps", type=int, default=None, help="steps of the training that is interrupted; 12, in miniature 5")
    parser.add_argument("--again", action="store_true", help="do every row again")
    options = parser.parse_args(argv)
    small = dict(model="random-llama", groups=2, answers=3, prompts=4, tokens=8, steps=5)
    for k, v in (small if options.miniature else dict(model="smollm2-135m-instruct", groups=16, answers=8, prompts=64, tokens=64, steps=12)).items():
        if getattr(options, k) is None: setattr(options, k, v)
    quiet()
    import pandas as pd
    from generank.genes import BUNDLED
    loci, part, models = pd.read_parquet(BUNDLED/"loci.parquet").to_dict("records"), Part("correctness", options), Models(options.model)
    seeds = sorted((ROOT/"results"/"laptop-long").glob("seed-*"))[:1 if options.miniature else None]
    sized = dict(groups=options.groups, answers=options.answers)
    with clock(part):
        part.row("rewards", rewards, seeds)
        for dtype in ("float32", "bfloat16"):
            part.row(f"logps {dtype} plain", logps, models, loci, dtype, False, **sized)
            part.row(f"logps {dtype} packed", logps, models, loci, dtype, True, **sized)
            part.row(f"gradient {dtype}", gradient, models, loci, dtype, **sized)
        for dtype, bound in (("float32", ALIKE), ("bfloat16", None)):
            for how in ("packed", "continuous"): part.row(f"greedy {dtype} {how}", same_answers, models, loci, how, dtype, bound, options.prompts, options.tokens)
        part.row("resume", resume, options.model, loci[:3], options.steps, False)
        if part.rows["resume"].get("passed") is not True: part.row("resume deterministic", resume, options.model, loci[:3], options.steps, True)
        left = max(part.left() - 10, 10)
        part.row("resume tests", resume_tests, ["--collect-only"] if options.miniature else [], left, needed=0 if options.miniature else 120)
    return ended(part)


if __name__ == "__main__": sys.exit(call(main))
