"""Every profile, those for graphics cards too, makes the arguments that the pinned packages take."""
import json
from pathlib import Path

import pytest
from peft import LoraConfig

from generank import grpo
from generank.profile import profile_names, resolve

ROOT = Path(__file__).resolve().parents[1]
UNSLOTH = json.loads((ROOT/"tests"/"signatures"/"unsloth.json").read_text())
LAUNCH = sorted((ROOT/"generank"/"launch").glob("*.yaml"))


def trained(name):
    config = resolve(name)
    return [{**config, "arm": a} for a in config["arms"] if a["training"] == "grpo"]


def arguments(config, monkeypatch, tmp_path):
    "trl's GRPOConfig of an arm, as on a machine that has what its backend needs."
    monkeypatch.setattr(grpo, "choose_backend", lambda name="auto", model="": (name, "") if name != "auto" else ("shared", ""))
    return grpo._grpo_arguments(config, tmp_path)


@pytest.mark.parametrize("name", profile_names())
def test_a_profile_makes_its_packages_arguments(name, monkeypatch, tmp_path):
    for config in trained(name):
        made, lora = arguments(config, monkeypatch, tmp_path), config["grpo"]["lora"]
        assert made.generation_batch_size % made.num_generations == 0 and made.temperature > 0
        assert made.use_vllm == (config["grpo"]["backend"] == "vllm")
        if lora is not None: assert LoraConfig(task_type="CAUSAL_LM", **lora).r == lora["r"]
        if config["grpo"]["backend"] == "unsloth":
            call = UNSLOTH["arguments"]
            assert {*config["grpo"]["unsloth"], "full_finetuning", "random_state", "model_name"} <= set(call["FastLanguageModel.from_pretrained"])
            assert {*lora, "random_state"} <= set(call["FastLanguageModel.get_peft_model"])
            assert config["grpo"]["unsloth"]["max_lora_rank"] >= lora["r"]
            assert config["grpo"]["unsloth"]["max_seq_length"] > made.max_completion_length
        if config["model"]["name"] not in ("random-llama", "smollm2-135m-instruct"):
            assert len(config["model"]["revision"]) == 40, "a download is pinned by its commit"
            assert "Not yet run." in config["description"]


def test_the_faithful_profile_keeps_the_first_runs_settings(monkeypatch, tmp_path):
    config = trained("h100-faithful")[0]
    made = arguments(config, monkeypatch, tmp_path)
    assert made.generation_batch_size == 128 and made.num_generations == 16 and made.max_completion_length == 500
    assert (made.learning_rate, made.adam_beta2, made.weight_decay, made.max_grad_norm, made.beta, made.temperature) == (5e-6, 0.99, 0.1, 0.1, 0.01, 0.9)
    assert (made.loss_type, made.scale_rewards, made.use_bias_correction_kl, made.vllm_importance_sampling_correction) == ("grpo", "group", False, False)
    assert made.optim == "paged_adamw_8bit" and made.lr_scheduler_type == "cosine" and made.epsilon_high is None
    assert grpo._plan(made, 540) == (675, 5400)             # ten epochs of 540 loci, eight a step
    assert made.get_warmup_steps(675) == 7                  # one per cent
    assert config["grpo"]["lora"]["r"] == config["grpo"]["lora"]["lora_alpha"] == 32 and len(config["grpo"]["lora"]["target_modules"]) == 7
    assert config["grpo"]["refill"] == 0 and config["grpo"]["select"] is None and config["grpo"]["unsloth"]["load_in_4bit"]


@pytest.mark.parametrize("file", LAUNCH, ids=lambda p: p.stem)
def test_accelerate_takes_the_launch_configurations(file):
    from accelerate.commands.config.config_args import load_config_from_file
    assert load_config_from_file(str(file)).distributed_type.value.lower() == {"ddp": "multi_gpu", "fsdp": "fsdp", "zero3": "deepspeed"}[file.stem]
