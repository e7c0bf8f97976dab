"""Write down which arguments a package takes that can't be imported without a graphics card, from the source in its pinned wheel:
python tests/signatures/write.py unsloth==2026.10.7 vllm==0.31.0    (the second wheel has 300 MB)"""
import ast
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WANTED = {"unsloth": {"FastLanguageModel.from_pretrained": ("unsloth/models/loader.py", "FastLanguageModel", "from_pretrained"),
                      "FastLanguageModel.get_peft_model": ("unsloth/models/llama.py", "FastLlamaModel", "get_peft_model")},
          "vllm": {"LLM": ("vllm/entrypoints/llm.py", "LLM", "__init__"), "EngineArgs": ("vllm/engine/arg_utils.py", "EngineArgs", None), "AsyncEngineArgs": ("vllm/engine/arg_utils.py", "AsyncEngineArgs", None),
                   "SamplingParams": ("vllm/sampling_params.py", "SamplingParams", None), "LoRARequest": ("vllm/lora/request.py", "LoRARequest", None),
                   "LLM.sleep": ("vllm/entrypoints/llm.py", "LLM", "sleep"), "BaseFrontendArgs": ("vllm/entrypoints/launchers/cli_args.py", "BaseFrontendArgs", None), "FrontendArgs": ("vllm/entrypoints/launchers/cli_args.py", "FrontendArgs", None)}}


def arguments(source, cls, name):
    "Names of the arguments of a method, `*args` and `**kwargs` left out; without a name the fields of a class."
    body = next(n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == cls).body
    if name is None: return [n.target.id for n in body if isinstance(n, ast.AnnAssign) and not n.target.id.startswith("_") and "ClassVar" not in ast.unparse(n.annotation)]
    spec = next(n for n in body if isinstance(n, ast.FunctionDef) and n.name == name).args
    return [a.arg for a in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]


def main(requirement):
    package, version = requirement.split("==")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "-d", folder, requirement], check=True)
        wheel = next(Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as z:
            found = {call: arguments(z.read(file).decode(), cls, name) for call, (file, cls, name) in WANTED[package].items()}
        sha = hashlib.sha256(wheel.read_bytes()).hexdigest()
    Path(__file__).with_name(f"{package}.json").write_text(json.dumps({"version": version, "wheel_sha256": sha, "arguments": found}, indent=1) + "\n")


if __name__ == "__main__":
    for requirement in sys.argv[1:]: main(requirement)
