"""Tokens a second of each backend, side by side: python benchmarks/inference.py [--loci 8] [--samples 4] [--tokens 24] [--model NAME] [--save]

Every backend answers the same questions on the same machine in one run, in float32, with its model loaded and after a first request; only
generating is timed. `shared prompt` is this library's sampler (the prompt's work once for all samples, weights laid out for oneDNN), `plain generate`
is transformers' own, `vLLM` and `vLLM's server` run where vLLM is installed (`make vllm-env`). Tokens are those of the answers."""
import argparse, os, platform, time
from importlib.util import find_spec
from unittest.mock import patch

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")

from _record import save
from generank.core import stable_seed
from generank.data import load_loci
from generank.backends import answer_batch, endpoint_answers, engine_answers, prompt_tokens, running_engine, serving, stop_engine
from generank.inference import questions
from generank.profile import Vllm

ENGINE = Vllm(enforce_eager=True, max_model_len=2048)


def timed(answer, asked)->tuple[float, int]:
    "Seconds, and tokens of the answers; one question first, which is not counted."
    answer(asked[:1])
    began = time.perf_counter()
    tokens = answer(asked)
    return time.perf_counter() - began, tokens


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, value in (("loci", 8), ("samples", 4), ("tokens", 24)): parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--save", action="store_true", help="keep what was measured in results/speed/")
    o, rows = parser.parse_args(), []
    import torch
    from generank.groups import left_pad
    from generank.models import load_model
    model, numbers = {"name": o.model, "dtype": "float32"}, list(range(o.samples))
    asked = [{**q, "seeds": [stable_seed(q["locus_id"], s) for s in numbers], "missing": numbers} for q in questions(load_loci()["test"].to_list()[:o.loci], "answer", False)]

    failed = []

    def count(answers):
        for q, number, a in answers:
            if "failed" in a: failed.append(f"{q['locus_id']}, sample {number}: {a['failed']}")
            yield 0 if "failed" in a else a["n_tokens"]

    each = lambda batches: (answer for batch in batches for answer in batch)
    llm, tokenizer = load_model(**model)
    llm.eval()
    prompts = lambda qs: [prompt_tokens(tokenizer, q["prompt"]) for q in qs]
    written = lambda row: next((i + 1 for i, t in enumerate(row) if t == tokenizer.eos_token_id), len(row))

    def shared(qs): return sum(a["n_tokens"] for row in answer_batch(llm, tokenizer, qs, [q["seeds"] for q in qs], 1.0, o.tokens) for a in row)

    def plain(qs):
        ids, mask = left_pad(prompts(qs), tokenizer.pad_token_id)
        with torch.inference_mode(): out = llm.generate(input_ids=ids, attention_mask=mask, do_sample=True, top_k=0, max_new_tokens=o.tokens, num_return_sequences=o.samples, pad_token_id=tokenizer.pad_token_id)
        return sum(map(written, out[:, ids.size(1):].tolist()))

    print(f"{o.model}, float32, {o.loci} loci x {o.samples} samples of up to {o.tokens} tokens, temperature 1; {platform.machine()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}")
    print(f"{'backend':52}{'tokens':>8}{'seconds':>10}{'tokens/s':>10}", flush=True)

    def show(name, answer):
        before = len(failed)
        seconds, tokens = timed(answer, asked)
        print(f"{name:52}{tokens:8,}{seconds:10.1f}{tokens / seconds:10.1f}", f"   {len(failed) - before} answers failed" if failed[before:] else "", flush=True)
        rows.append([name, f"{tokens:,}", f"{seconds:.1f}", f"{tokens / seconds:.1f}"])

    show("transformers, shared prompt", shared)
    with patch("torch.backends.mkldnn.is_available", lambda: False): show("transformers, shared prompt, weights not laid out", shared)
    show("transformers, plain generate", plain)
    del llm
    if find_spec("vllm"):
        engine, _ = running_engine(model, None, ENGINE)
        show("vLLM", lambda qs: sum(count(each(engine_answers(engine, qs, None, 1.0, o.tokens, {})))))
        del engine
        stop_engine()
        with serving(model, None, ENGINE) as where:
            show("vLLM's server", lambda qs: sum(count(each(endpoint_answers(qs, model, temperature=1.0, max_new_tokens=o.tokens, endpoint={**where, "concurrency": 64})))))
    if not find_spec("vllm"): print("vLLM is not installed here: make vllm-env, then .venv-vllm/bin/python benchmarks/inference.py")
    if failed: raise SystemExit("\n".join([f"{len(failed)} answers failed, so the rows can't be compared:", *failed[:8], *(["..."] if len(failed) > 8 else [])]))
    if o.save: print(save("inference", f"{o.model} in float32, {o.loci} loci with {o.samples} samples of up to {o.tokens} tokens each, temperature 1, {torch.get_num_threads()} thread(s).", ["Backend", "Tokens", "Seconds", "Tokens a second"], rows))


if __name__ == "__main__": main()
