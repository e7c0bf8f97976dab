"""The backends held against each other: `make vllm-test`, in the environment of `make vllm-env`.

32 loci, greedy decoding, float32, the same weights, with and without a LoRA adapter: transformers, vLLM in this
process, and vLLM's server on the loopback interface, asked like any OpenAI-compatible endpoint. Where two answers differ, both continuations of what
they have in common are scored by transformers: a gap between the two tokens of less than `NEAR` is a near-tie, which sums in another order may tip over.
The result goes to the file named in GENERANK_BACKENDS, where that is set."""
import itertools
import json
import os
import shutil
from pathlib import Path

import pytest

import vllm  # noqa: F401  a missing vLLM is an error here: this file is run by `make vllm-test` alone, in the environment made for it
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")

from generank.data import load_loci
from generank.inference import generate
from generank.backends import serving, stop_engine

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
    from generank.backends import prompt_tokens
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
    for a, b in itertools.combinations(said, 2):
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


def test_one_engine_serves_several_adapters(adapter, tmp_path):
    "An engine that runs already takes a further adapter, and tells it from the first, although both folders have one name."
    import torch
    from generank import backends
    from generank.store import adapter_hash
    from safetensors.torch import load_file, save_file
    other = tmp_path/adapter.name
    shutil.copytree(adapter, other)
    save_file({k: -v if "lora_B" in k else v for k, v in load_file(other/"adapter_model.safetensors").items()}, other/"adapter_model.safetensors")
    loci = load_loci()["test"].to_list()[:8]
    ask = lambda lora, backend, **k: generate(loci, MODEL, lora, backend=backend, style="answer", descriptions=False, max_new_tokens=8, **k)["completion"].tolist()
    engines, said = [], {}
    for lora in (adapter, other, adapter):
        said[adapter_hash(lora)] = ask(lora, "vllm", vllm=ENGINE)
        engines.append(id(next(iter(backends._RUNNING.values()))))
    assert len(set(engines)) == 1 and len(said) == 2
    for lora in (adapter, other): assert sum(a == b for a, b in zip(said[adapter_hash(lora)], ask(lora, "transformers"))) >= 7, "more than one near-tie tipped over, or the engine took the wrong adapter"


def test_the_servers_words_are_known():
    "vLLM's own parser reads every word of the command line, those for many GPUs too, and every argument of `vllm.LLM` is one of its engine's."
    import dataclasses
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    from generank.backends import engine_arguments, server_command
    from generank.profile import Vllm
    engine = Vllm(tensor_parallel_size=8, pipeline_parallel_size=2, data_parallel_size=4, max_model_len=4096, extra={"max_num_seqs": 64, "enable_chunked_prefill": False, "hf_overrides": {"a": 1}})
    arguments = engine_arguments({"name": "m", "revision": "abc", "dtype": "float32", "quantization": "4bit"}, "m", None, engine) | {"enable_lora": True, "max_lora_rank": 32}
    known = {f.name for f in dataclasses.fields(AsyncEngineArgs)}
    assert set(arguments) <= known, set(arguments) - known
    read = vars(make_arg_parser(FlexibleArgumentParser()).parse_args(server_command(arguments, "models/grpo-rank", engine, 8123)[3:]))
    assert {k: read[k] for k in arguments if k != "hf_overrides"} == {k: v for k, v in arguments.items() if k != "hf_overrides"}
    assert (read["data_parallel_size"], read["port"], read["lora_modules"][0].name) == (4, 8123, "grpo-rank")


@pytest.mark.parametrize("mode", [{"data_parallel_size": 2}, {"tensor_parallel_size": 3}], ids=["data", "tensor"])
def test_several_processes_answer_as_one(mode):
    "Two copies of the model behind vLLM's server; each layer in three parts, since the model has nine heads. In vLLM 0.31.0's CPU build pipeline parallelism dies in vLLM's own code (`assert self.intermediate_tensors is not None`)."
    loci = load_loci()["test"].to_list()[:8]
    ask = lambda backend, **k: generate(loci, MODEL, backend=backend, style="answer", descriptions=False, max_new_tokens=16, **k)["completion"].tolist()
    said = ask("transformers")
    assert sum(a == b for a, b in zip(ask("vllm", vllm={**ENGINE, **mode}), said)) >= 7 and len(set(said)) > 2, "more than one near-tie tipped over, or the answers hardly depend on the locus"
    stop_engine()
