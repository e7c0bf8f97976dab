"""An adapter as GGUF: read back, it answers as the model with its adapter does. Needs `make gguf-env`."""
import pytest

from generank.core import UserError
from generank.export import converter, export_adapter


def test_a_gguf_answers_as_the_adapter_does(tmp_path):
    try: converter()
    except UserError as e: pytest.skip(str(e))
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from generank.data import load_loci
    from generank.models import load_model
    from generank.inference import questions
    from generank.local import answer_batch
    torch.manual_seed(0)
    model, tokenizer = load_model("smollm2-135m-instruct", dtype="float32")
    tuned = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=8, target_modules=["q_proj", "k_proj", "down_proj"]))
    for name, p in tuned.named_parameters():
        if "lora_B" in name: torch.nn.init.normal_(p, std=0.06)
    tuned.save_pretrained(tmp_path/"adapter")
    asked = questions(load_loci()["test"].to_list()[:4], "answer", False)
    said = lambda m, t: [row[0]["completion"] for row in answer_batch(m.eval(), t, asked, [[0]] * len(asked), 0.0, 24)]
    wanted = said(tuned, tokenizer)
    with tuned.disable_adapter(): assert said(tuned, tokenizer) != wanted
    path = export_adapter(tmp_path/"adapter", "gguf", tmp_path/"gguf", model="smollm2-135m-instruct", outtype="f32")
    assert (tmp_path/"gguf"/"Modelfile").read_text().startswith("FROM ./adapter.f32.gguf")
    back = AutoModelForCausalLM.from_pretrained(tmp_path/"gguf", gguf_file=path.split("/")[-1], dtype=torch.float32)
    spelled = AutoTokenizer.from_pretrained(tmp_path/"gguf", gguf_file=path.split("/")[-1])
    spelled.eos_token = spelled.pad_token = tokenizer.eos_token
    assert said(back, spelled) == wanted
