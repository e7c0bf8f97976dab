"""Tokens a second of each backend, side by side: python benchmarks/inference.py [--loci 8] [--samples 4] [--tokens 24] [--model NAME] [--save]

Every backend answers the same questions on the same machine in one run, in float32, with its model loaded and after a first request; only
generating is timed. `shared prompt` is this library's sampler (the prompt's work once for all samples), `plain generate` and `continuous batching`
are transformers' own, `vLLM` and `vLLM's server` run where vLLM is installed (`make vllm-env`). Tokens are those of the answers."""
import argparse, os, platform, time
from importlib.util import find_spec

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")

from _record import save
from generank.core import stable_seed
from generank.data import load_loci
from generank.endpoint import endpoint_answers
from generank.inference import questions
from generank.local import answer_batch, prompt_tokens
from generank.vllm_backend import Engine, _engine_answers, engine_arguments, model_source, serving

ENGINE = Engine(enforce_eager=True, max_model_len=2048)


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
    from transformers import ContinuousBatchingConfig, GenerationConfig
    from generank.groups import left_pad
    from generank.models import load_model
    model, numbers = {"name": o.model, "dtype": "float32"}, list(range(o.samples))
    asked = [{**q, "seeds": [stable_seed(q["locus_id"], s) for s in numbers], "missing": numbers} for q in questions(load_loci()["test"].to_list()[:o.loci], "answer", False)]

    def count(batches):
        answers = [a for batch in batches for _, _, a in batch]
        for a in answers:
            if "failed" in a: raise SystemExit(f"An answer failed, so there is nothing to compare: {a['failed']}")
        return sum(a["n_tokens"] for a in answers)

    llm, tokenizer = load_model(**model)
    llm.eval()
    prompts = lambda qs: [prompt_tokens(tokenizer, q["prompt"]) for q in qs]
    written = lambda row: next((i + 1 for i, t in enumerate(row) if t == tokenizer.eos_token_id), len(row))

    def shared(qs): return sum(a["n_tokens"] for row in answer_batch(llm, tokenizer, qs, [q["seeds"] for q in qs], 1.0, o.tokens) for a in row)

    def plain(qs):
        ids, mask = left_pad(prompts(qs), tokenizer.pad_token_id)
        with torch.inference_mode(): out = llm.generate(input_ids=ids, attention_mask=mask, do_sample=True, top_k=0, max_new_tokens=o.tokens, num_return_sequences=o.samples, pad_token_id=tokenizer.pad_token_id)
        return sum(map(written, out[:, ids.size(1):].tolist()))

    def continuous(qs):
        config = GenerationConfig(do_sample=True, top_k=0, max_new_tokens=o.tokens, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
        asked_for = [p for p in prompts(qs) for _ in numbers]
        cache = ContinuousBatchingConfig(block_size=256, num_blocks=2 * len(asked_for) * (1 + max(map(len, asked_for)) // 256), max_batch_tokens=1024)  # by default it takes most of the memory
        out = llm.generate_batch(asked_for, generation_config=config, continuous_batching_config=cache, progress_bar=False)
        return sum(len(r.generated_tokens) for r in out.values())

    print(f"{o.model}, float32, {o.loci} loci x {o.samples} samples of up to {o.tokens} tokens, temperature 1; {platform.machine()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}")
    print(f"{'backend':36}{'tokens':>8}{'seconds':>10}{'tokens/s':>10}", flush=True)

    def show(name, answer):
        seconds, tokens = timed(answer, asked)
        print(f"{name:36}{tokens:8,}{seconds:10.1f}{tokens / seconds:10.1f}", flush=True)
        rows.append([name, f"{tokens:,}", f"{seconds:.1f}", f"{tokens / seconds:.1f}"])

    show("transformers, shared prompt", shared)
    show("transformers, plain generate", plain)
    show("transformers, continuous batching", continuous)
    del llm
    if find_spec("vllm"):
        from vllm import LLM
        with model_source(model) as source:
            engine = LLM(**engine_arguments(model, source, None, ENGINE))
            show("vLLM", lambda qs: count(_engine_answers(engine, qs, None, 1.0, o.tokens, {})))
            del engine
        with serving(model, None, ENGINE) as where:
            show("vLLM's server", lambda qs: count(endpoint_answers(qs, model, temperature=1.0, max_new_tokens=o.tokens, endpoint={**where, "concurrency": 64})))
    if o.save: print(save("inference", f"{o.model} in float32, {o.loci} loci with {o.samples} samples of up to {o.tokens} tokens each, temperature 1, {torch.get_num_threads()} thread(s).", ["Backend", "Tokens", "Seconds", "Tokens a second"], rows))
    if not find_spec("vllm"): print("vLLM is not installed here: make vllm-env, then .venv-vllm/bin/python benchmarks/inference.py")


if __name__ == "__main__": main()
