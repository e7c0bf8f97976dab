"""Set the repository's address in settings.ini and in the first cells of the notebooks: `make address URL=https://github.com/OWNER/NAME`."""
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from generank.core import UserError, write_text  # noqa: E402

COLAB_NOTEBOOKS = ("00_tour", "13_data", "34_grpo", "42_inference", "55_evaluation")
CELL = '''#| hide
import subprocess, sys
if "google.colab" in sys.modules:   # elsewhere the library is installed already
    address = {address!r}
    if not address: raise RuntimeError("This notebook has no address to install generank from: set `address`.")
    subprocess.run(["sh", "-c", 'test -d /content/generank || git clone "$0" /content/generank', address], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-e", "/content/generank[gpu]"], check=True)
    sys.path.insert(0, "/content/generank")
    from generank.machines import prepare
    print(prepare())'''


def first_cell(address:str=None)->str:
    "The first code cell of a notebook, with the repository's address; None: `git_url` of settings.ini."
    if address is None: address = re.search(r"^git_url *=[ \t]*(.*)$", (ROOT/"settings.ini").read_text(encoding="utf-8"), re.M)[1].strip()
    return CELL.format(address=address)


def write_first_cells(
    folder=None,         # of the notebooks; None: `nbs/` of the clone
)->list[str]:            # the notebooks that changed
    "Put the cell into every stage's notebook, in place of an earlier one."
    changed = []
    for path in (Path(folder or ROOT/"nbs")/f"{name}.ipynb" for name in COLAB_NOTEBOOKS):
        before = path.read_text(encoding="utf-8")
        nb = json.loads(before)
        first = next(i for i, c in enumerate(nb["cells"]) if c["cell_type"] == "code")
        if '"google.colab" in sys.modules' not in "".join(nb["cells"][first]["source"]):
            nb["cells"].insert(first, {"cell_type": "code", "execution_count": None, "id": "c01ab000", "metadata": {},
                                       "outputs": []})
        nb["cells"][first]["source"] = first_cell().splitlines(keepends=True)
        after = json.dumps(nb, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        if after != before:
            write_text(path, after)
            changed.append(path.stem)
    return changed


def set_address(
    address:str=None,    # of the repository, as in https://github.com/OWNER/NAME; None: as settings.ini has it
)->list[str]:            # the files that changed
    "Set `git_url` in settings.ini, and write it into the first cells: `make address`."
    if address is not None and not re.fullmatch(r"https://[\w.-]+(/[\w.~-]+)+", address):
        raise UserError(f"{address!r} is not the address of a repository: give one like https://github.com/OWNER/NAME.")
    settings, changed = ROOT/"settings.ini", []
    before = settings.read_text(encoding="utf-8")
    after = before if address is None else re.sub(r"^git_url *=.*$", f"git_url = {address}", before, flags=re.M)
    if after != before:
        write_text(settings, after)
        changed.append(settings.name)
    return changed + [f"nbs/{name}.ipynb" for name in write_first_cells()]


if __name__ == "__main__":
    try: print(*set_address(sys.argv[1] if sys.argv[1:] and sys.argv[1] else None), sep="\n")
    except UserError as e: sys.exit(f"Error: {e}")
