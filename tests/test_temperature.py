"""`grpo.trl.temperature` reaches the sampler in training: near zero every answer of a group is the same, at one they differ."""
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from generank.models import load_model
from generank.trainers import shared_prompt_trainer


@pytest.fixture(scope="module")
def trainer():
    "A trainer with what sampling needs and no more, on the random model."
    model, tokenizer = load_model("random-llama", dtype="float32")
    made = object.__new__(shared_prompt_trainer())
    plain = SimpleNamespace(unwrap_model=lambda m: m, autocast=nullcontext)
    vars(made).update(model=model, accelerator=plain, max_completion_length=12, eos_token_ids=[tokenizer.eos_token_id], _tokenizer=tokenizer)
    return made


@pytest.mark.parametrize("temperature, different", [(1e-6, 1), (1.0, 8)])
def test_the_temperature_of_training_reaches_the_sampler(trainer, temperature, different):
    torch.manual_seed(1)
    trainer.temperature = temperature
    prompt = trainer._tokenizer("GWAS trait: gout", add_special_tokens=False)["input_ids"]
    answers, _ = trainer._generate_single_turn([prompt] * 8, None, {}, 8)
    assert len({tuple(a) for a in answers}) == different
