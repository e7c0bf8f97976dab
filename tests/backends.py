"""The backends held against each other: `make vllm-test`, in the environment of `make vllm-env`.

32 loci, greedy decoding, float32, the same weights, with and without a LoRA adapter: transformers, vLLM in this process, and vLLM's
server on the loopback interface, asked like any OpenAI-compatible endpoint. Where two answers differ, both continuations of what they have
in common are scored by transformers: a gap between the two tokens of less than `NEAR` is a near-tie, which sums in another order may tip over.
The result goes to the file named in GENERANK_BACKENDS, where that is set."""
import json
import os
from pathlib import Path

import pytest

import vllm  # noqa: F401  a missing vLLM is an error here: this file is run by `make vllm-test` alone, in the environment made for it
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")

from generank.data import load_loci
from generank.inference import generate
from generank.vllm_backend import serving

MODEL = {"name": os.environ.get("GENERANK_MODEL", "smollm2-135m-instruct"), "dtype": "float32"}
ENGINE = {"enforce_eager": True, "max_model_len": 2048}
LOCI, TOKENS, NEAR = 32, 32, 1e-3


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    "A LoRA adapter with random weights, none of them zero, that changes the answers."
    import torch
    from peft import LoraConfig, get_peft_model
    from generank.models import load_model
    torch.manual_seed(0)
    model, _ = load_model(**MODEL)
    tuned = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=16, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]))
    for name, p in tuned.named_parameters():
        if "lora_B" in name: torch.nn.init.normal_(p, std=0.06)
    folder = tmp_path_factory.mktemp("models")/"random-lora"
    tuned.save_pretrained(folder)
    return folder


def gap(model, tokenizer, prompt, one:str, other:str):
    "Where two answers part: tokens in common, and by how much their next tokens differ in transformers' logits."
    import torch
    from generank.local import prompt_tokens
    a, b = (tokenizer(t, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] for t in (one, other))
    same = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    with torch.inference_mode(): logits = model(torch.tensor([prompt_tokens(tokenizer, prompt) + a[:same]])).logits[0, -1]
    return same, abs(float(logits[a[same]] - logits[b[same]]))


def report(entry):
    "Print a result, and add it to the file that collects them."
    print(json.dumps(entry))
    path = os.environ.get("GENERANK_BACKENDS")
    if path: Path(path).write_text(json.dumps([*(json.loads(Path(path).read_text()) if Path(path).exists() else []), entry], indent=1) + "\n")


@pytest.mark.parametrize("with_adapter", [False, True], ids=["base", "lora"])
def test_the_backends_agree(with_adapter, adapter):
    from importlib.metadata import version
    import vllm
    from generank.models import load_model
    from generank.inference import questions
    loci = load_loci()["test"].to_list()[:LOCI]
    lora = adapter if with_adapter else None
    ask = lambda backend, **k: generate(loci, MODEL, lora, backend=backend, style="answer", descriptions=False, max_new_tokens=TOKENS, **k)["completion"].tolist()
    said = {"transformers": ask("transformers"), "vllm": ask("vllm", vllm=ENGINE)}
    with serving(MODEL, lora, ENGINE) as where: said["openai"] = ask("openai", endpoint={**where, "concurrency": 8})
    assert len(set(said["transformers"])) > LOCI // 2, "the answers hardly depend on the locus: nothing is shown"
    prompts = [q["prompt"] for q in questions(loci, "answer", False)]
    model, tokenizer = load_model(**MODEL, adapter=lora)
    pairs = {}
    for a, b in (("transformers", "vllm"), ("transformers", "openai"), ("vllm", "openai")):
        different = [i for i in range(LOCI) if said[a][i] != said[b][i]]
        parts = [gap(model, tokenizer, prompts[i], said[a][i], said[b][i]) for i in different]
        pairs[f"{a} and {b}"] = {"same": LOCI - len(different), "different": [{"locus": loci[i]["locus_id"], "tokens_in_common": n, "logit_gap": g} for i, (n, g) in zip(different, parts)]}
    report({"model": MODEL["name"], "adapter": bool(lora), "loci": LOCI, "tokens": TOKENS, "pairs": pairs, "versions": {p: version(p) for p in ("torch", "transformers", "peft")} | {"vllm": vllm.__version__}})
    far = [(pair, d) for pair, r in pairs.items() for d in r["different"] if d["logit_gap"] >= NEAR]
    assert not far, f"answers differ where no near-tie explains it: {far}"



def test_the_adapter_matters(adapter):
    loci = load_loci()["test"].to_list()[:8]
    ask = lambda lora: generate(loci, MODEL, lora, backend="transformers", style="answer", descriptions=False, max_new_tokens=TOKENS)["completion"].tolist()
    assert sum(a != b for a, b in zip(ask(None), ask(adapter))) >= 4
