"""Make the tour's warm start again, a small LoRA adapter that knows the answer format and no labels: make tour

It is the warm start of the profile `laptop` with a smaller adapter (rank 8, attention only), stored in float16 to be shipped with the library."""
import os, tempfile
from pathlib import Path

from safetensors.torch import load_file, save_file

from generank.core import read_json, write_json
from generank.data import load_loci
from generank.grpo import train
from generank.profile import resolve

TO = Path(__file__).resolve().parents[1]/"generank"/"data"/"tour"
LORA = {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"], "layers_to_transform": [*range(14, 30)]}


def make(to=TO):
    "Train the warm start, and write its adapter and card into `to`."
    config = resolve("laptop", [f"grpo.lora={LORA}"])
    config["arm"] = next(a for a in config["arms"] if a["training"] == "format")
    with tempfile.TemporaryDirectory() as folder:
        summary = train(config, list(load_loci()["train"]), folder)
        to.mkdir(parents=True, exist_ok=True)
        weights = {k: v.half() for k, v in load_file(f"{folder}/adapter_model.safetensors").items()}
        save_file(weights, to/"adapter_model.safetensors", metadata={"format": "pt"})
        os.chmod(to/"adapter_model.safetensors", 0o644)
        settings = read_json(f"{folder}/adapter_config.json")
        write_json(to/"adapter_config.json", {**settings, "base_model_name_or_path": None})  # a name makes peft ask the Hub
        where = "Profile: laptop; every setting is in `settings.json`, every logged step in `metrics.jsonl`."
        card = (Path(folder)/"README.md").read_text().replace(where, "Made by `scripts/tour.py` for the notebook 00_tour.")
        (to/"README.md").write_text(card)
    return summary


if __name__ == "__main__": print(make())
