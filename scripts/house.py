"""The house in numbers: notebooks, library, limits, and the order of imports. Exit code 1 past a limit (`make house`)."""
import ast
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMITS = {"notebooks": 35, "library lines": 12_000, "report lines": 1_000, "modules over 500 lines": 0, "lines over 120 columns": 0,
          "exported cells over 40 lines": 0, "imports against the order": 0}
REPORT = ("report",)


def notebooks()->dict[str, dict]:
    "Every notebook by its stem."
    return {p.stem: json.loads(p.read_text(encoding="utf-8")) for p in sorted((ROOT/"nbs").glob("*.ipynb"))}


def code_cells(nb:dict)->list[str]:
    return ["".join(c["source"]) for c in nb["cells"] if c["cell_type"] == "code"]


def exported(nb:dict)->list[str]:
    return [s for s in code_cells(nb) if re.search(r"^#\|\s*export", s, re.M)]


def module_numbers(nbs:dict)->dict[str, str]:
    "The number of the notebook that each module is exported from."
    named = {stem: re.search(r"#\|\s*default_exp\s+(\w+)", "\n".join(code_cells(nb))) for stem, nb in nbs.items()}
    return {m.group(1): stem.split("_")[0] for stem, m in named.items() if m}


def imports(path:Path)->set[str]:
    "Modules of the library that a module imports, also inside functions."
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "generank"):
            inner = (node.module or "").removeprefix("generank").strip(".")
            found |= {inner.split(".")[0]} if inner else {a.name for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("generank.")}
    return found


def against_order(numbers:dict)->list[str]:
    "Imports of a module of the same or a higher number, and the modules without a notebook."
    wrong = []
    for module, number in sorted(numbers.items(), key=lambda m: m[1]):
        for other in sorted(imports(ROOT/"generank"/f"{module}.py") & set(numbers)):
            if numbers[other] >= number: wrong.append(f"{number}_{module} imports {numbers[other]}_{other}")
    return wrong


def tracked_code()->dict[str, int]:
    "Lines of code that git tracks, by kind; the library is generated from the notebooks and does not count here."
    paths = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    count = lambda keep: sum(len((ROOT/p).read_text(encoding="utf-8").splitlines()) for p in paths if p and keep(p) and (ROOT/p).is_file())
    return {"notebook code": sum(s.count("\n") + 1 for nb in notebooks().values() for s in code_cells(nb)),
            "tests": count(lambda p: p.startswith("tests/") and p.endswith((".py", ".js"))),
            "scripts and benchmarks": count(lambda p: p.startswith(("scripts/", "benchmarks/")) and p.endswith((".py", ".sh", ".js"))),
            "templates": count(lambda p: p.startswith("generank/templates/"))}


def measure()->tuple[dict, list[str]]:
    "The numbers, and one line for each thing that is past a limit."
    nbs = notebooks()
    numbers = module_numbers(nbs)
    lines = {m: (ROOT/"generank"/f"{m}.py").read_text(encoding="utf-8").splitlines() for m in numbers}
    long_modules = [f"generank/{m}.py has {len(text)} lines" for m, text in lines.items() if len(text) > 500]
    wide = [f"generank/{m}.py:{n}: {len(line)} columns" for m, text in lines.items() for n, line in enumerate(text, 1)
            if len(line) > 120 and not line.startswith("__all__")]   # nbdev wraps that one line at 120 without counting its name
    long_cells = [f"{stem}: {s.splitlines()[1][:60]} has {s.count(chr(10)) + 1} lines"
                  for stem, nb in nbs.items() for s in exported(nb) if s.count("\n") + 1 > 41]
    wrong = against_order(numbers)
    library = sum(len(text) for text in lines.values())
    house = {"notebooks": len(nbs), "modules": len(numbers), "library lines": library,
             "report lines": sum(len(lines[m]) for m in REPORT if m in lines), "modules over 500 lines": len(long_modules),
             "lines over 120 columns": len(wide), "exported cells over 40 lines": len(long_cells), "imports against the order": len(wrong)}
    return house | tracked_code(), long_modules + wide + long_cells + wrong


def main()->int:
    house, details = measure()
    for name, value in house.items():
        limit = LIMITS.get(name)
        print(f"{name:30s} {value:7,d}" + (f"   at most {limit:,d}" if limit is not None else "") + ("   PAST IT" if limit is not None and value > limit else ""))
    past = [name for name, limit in LIMITS.items() if house[name] > limit]
    if past: print("\n" + "\n".join(details[:40]) + (f"\n... and {len(details) - 40} more" if len(details) > 40 else ""))
    return int(bool(past))


if __name__ == "__main__":
    sys.exit(main())
