"""Write down which arguments a package takes that can't be imported without a graphics card, from the source in its pinned wheel:
python tests/signatures/write.py unsloth==2026.10.7"""
import ast
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WANTED = {"unsloth": {"FastLanguageModel.from_pretrained": ("unsloth/models/loader.py", "FastLanguageModel", "from_pretrained"),
                      "FastLanguageModel.get_peft_model": ("unsloth/models/llama.py", "FastLlamaModel", "get_peft_model")}}


def arguments(source, cls, name):
    "Names of the arguments of a method, `*args` and `**kwargs` left out."
    body = next(n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == cls).body
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
    main(sys.argv[1])
