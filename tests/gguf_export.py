"""A merged adapter as GGUF: read back, its weights, its tokenizer and its answers are those that were merged. Run by `make gguf-test`, which makes the
converter's environment first; without a converter it fails."""
import pytest

from generank.core import UserError
from generank.export import converter, export_adapter, to_gguf

CHANGED = ("q_proj", "k_proj", "down_proj")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    "The folder with a random adapter merged into SmolLM2, and the same as GGUF."
    converter()
    import torch
    from peft import LoraConfig, get_peft_model
    from generank.models import load_model
    work = tmp_path_factory.mktemp("gguf")
    torch.manual_seed(0)
    tuned = get_peft_model(load_model("smollm2-135m-instruct", dtype="float32")[0], LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=8, target_modules=[*CHANGED]))
    for name, p in tuned.named_parameters():
        if "lora_B" in name: torch.nn.init.normal_(p, std=0.06)
    tuned.save_pretrained(work/"adapter")
    folder, path = (export_adapter(work/"adapter", to, work/to, model="smollm2-135m-instruct", outtype="f32") for to in ("merged", "gguf"))
    return folder, path


@pytest.fixture(scope="module")
def both(made):
    "Model and tokenizer, as merged and as read from the GGUF alone."
    import torch
    from pathlib import Path
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from generank.models import load_model
    folder, path = Path(made[1]).parent, Path(made[1]).name
    return load_model(made[0], dtype="float32"), (AutoModelForCausalLM.from_pretrained(folder, gguf_file=path, dtype=torch.float32), AutoTokenizer.from_pretrained(folder, gguf_file=path))


def test_the_weights_are_those_that_were_merged(both):
    import torch
    from generank.models import load_model
    (merged, _), (back, _) = both
    plain, merged, back = load_model("smollm2-135m-instruct", dtype="float32")[0].state_dict(), merged.state_dict(), back.state_dict()
    assert merged.keys() == back.keys()
    assert all(torch.equal(merged[k], back[k]) for k in merged), "the weights changed on their way"
    changed = {k for k in plain if not torch.equal(plain[k], merged[k])}
    assert len(changed) == 90 and all(any(m in k for m in CHANGED) for k in changed)


def test_the_tokenizer_reads_and_the_model_answers_as_before(both):
    import torch
    from generank.data import load_loci
    from generank.inference import questions
    answers = []
    asked = questions(load_loci()["test"].to_list()[:4], "answer", False)
    for model, tokenizer in both:
        for q in asked:
            ids = tokenizer.apply_chat_template(q["prompt"], add_generation_prompt=True, return_dict=True, return_tensors="pt")["input_ids"]
            with torch.inference_mode(): out = model.generate(ids, do_sample=False, max_new_tokens=24, eos_token_id=2, pad_token_id=2)
            answers.append((ids[0].tolist(), tokenizer.decode(out[0, ids.size(1):], skip_special_tokens=True)))
    assert answers[:4] == answers[4:] and len(set(a for _, a in answers[:4])) > 1


def test_llama_cpp_is_told_how_the_tokenizer_splits(made):
    "What transformers does not read: without it llama.cpp would split numbers in another way than the model learned."
    import gguf
    from generank.models import packaged_gguf
    ours, source = (gguf.GGUFReader(p).fields for p in (made[1], packaged_gguf("smollm2-135m-instruct")))
    spelled = [k for k in source if k.startswith("tokenizer.")]
    assert spelled == [k for k in ours if k.startswith("tokenizer.")] and "tokenizer.ggml.pre" in spelled
    assert all(ours[k].contents() == source[k].contents() for k in spelled)


def test_a_tokenizer_that_would_be_misread_is_refused(made, tmp_path):
    with pytest.raises(UserError, match="would misread it"): to_gguf(made[0], tmp_path/"refused.gguf")
