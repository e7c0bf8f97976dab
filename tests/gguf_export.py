"""A merged adapter as GGUF: read back, its weights are those that were merged. Run by `make gguf-test`, which makes the converter's environment first; without
a converter it fails."""
import subprocess

import pytest

from generank.core import UserError
from generank.export import converter, export_adapter, to_gguf


def test_a_gguf_holds_the_merged_weights(tmp_path):
    command = converter()
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM
    from generank.models import load_model
    torch.manual_seed(0)
    model, _ = load_model("smollm2-135m-instruct", dtype="float32")
    plain = {k: v.clone() for k, v in model.state_dict().items()}
    tuned = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=8, target_modules=["q_proj", "k_proj", "down_proj"]))
    for name, p in tuned.named_parameters():
        if "lora_B" in name: torch.nn.init.normal_(p, std=0.06)
    tuned.save_pretrained(tmp_path/"adapter")
    folder = export_adapter(tmp_path/"adapter", "merged", tmp_path/"merged", model="smollm2-135m-instruct")
    merged = load_model(folder, dtype="float32")[0].state_dict()
    with pytest.raises(UserError, match="would misread it"): to_gguf(folder, tmp_path/"refused.gguf")  # this package's tokenizer, not the weights
    subprocess.run([*command, folder, "--outfile", str(tmp_path/"m.gguf"), "--outtype", "f32"], check=True, capture_output=True)
    back = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf", dtype=torch.float32).state_dict()
    assert merged.keys() == back.keys()
    assert all(torch.equal(merged[k], back[k]) for k in merged), "the weights changed on their way"
    changed = {k for k in plain if not torch.equal(plain[k], merged[k])}
    assert len(changed) == 90 and all(any(m in k for m in ("q_proj", "k_proj", "down_proj")) for k in changed)
