"""Change the library in small ways, each in a copy of the checkout, and see which tests notice.

tests/golden/mutants.yaml lists the changes, tests/golden/mutants.json which test killed each, or that it survived.
`--check` only looks whether every change still finds its place."""
import argparse, json, os, re, shutil, signal, subprocess, sys, tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import yaml

ROOT = Path(__file__).resolve().parents[1]
LISTED, FOUND = (ROOT/"tests"/"golden"/f"mutants.{ending}" for ending in ("yaml", "json"))
LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", "runs", "_proc", "_docs", "__pycache__", ".pytest_cache", "results")


def defines(name): return re.compile(rf"^(?:def|class) {re.escape(name)}\b", re.M)


def notebook_of(module):
    "The notebook that a module is exported from, as the module's head says."
    head = re.search(r"File to edit: (\S+?\.ipynb)", module.read_text(encoding="utf-8"))
    return (module.parent/head[1]).resolve()


def changed(text, function, old, new, where):
    "`text` with the first `old` after the head of `function` replaced; it must stand before the next definition."
    head = defines(function).search(text)
    end = re.compile(r"^(?:def|class|# %%) ?", re.M).search(text, head.end())
    at = text.find(old, head.start(), end.start() if end else len(text))
    if at < 0: raise SystemExit(f"{where}: {old!r} is not in {function}")
    return text[:at] + new + text[at + len(old):]


def mutate(root, mutant):
    "The files of a mutant with their new text: the module, and the notebook that it comes from."
    how = [mutant[k] for k in ("function", "old", "new")]
    texts = {m: m.read_text(encoding="utf-8") for m in sorted((root/"generank").glob("*.py"))}
    modules = [m for m, text in texts.items() if defines(how[0]).search(text) and how[1] in text]
    if len(modules) != 1:
        raise SystemExit(f"{mutant['id']}: {how[0]} with {how[1]!r} is in {[m.name for m in modules]}")
    path = notebook_of(modules[0])
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    cell = next(c for c in code if defines(how[0]).search("".join(c["source"])))
    cell["source"] = changed("".join(cell["source"]), *how, mutant["id"])
    return {modules[0]: changed(texts[modules[0]], *how, mutant["id"]), path: json.dumps(notebook)}


def command(root, test, path):
    "The command line of one of a mutant's tests."
    kind, _, rest = test.partition(" ")
    if kind == "golden": return [sys.executable, "scripts/golden.py", "compare", *rest.split()]
    if kind == "notebook":
        name = (notebook_of(root/"generank"/f"{rest}.py") if rest else path).stem
        test = f"tests/test_notebooks.py::test_notebook_runs[{name}]"
    return [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *test.split()]


def fails(root, words, seconds):
    "How a command fails in a copy of the checkout; empty: it passes."
    env = {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    with subprocess.Popen(words, cwd=root, env=os.environ | env, **quiet) as process:
        try: return "failed" if process.wait(seconds) else ""
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return "took too long"


def judge(root, mutant, seconds):
    "Which test notices a mutant, and how; empty: it survives."
    files = mutate(root, mutant)
    before = {path: path.read_text(encoding="utf-8") for path in files}
    try:
        for path, text in files.items(): path.write_text(text, encoding="utf-8")
        for test in mutant["tests"]:
            if how := fails(root, command(root, test, list(files)[1]), seconds): return {"by": test, "how": how}
        return {}
    finally:
        for path, text in before.items(): path.write_text(text, encoding="utf-8")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("ids", nargs="*", metavar="ID", help="mutants; default: all")
    p.add_argument("--jobs", type=int, default=1, help="mutants side by side")
    p.add_argument("--seconds", type=float, default=120, help="time limit of a test")
    p.add_argument("--check", action="store_true", help="look only whether every change finds its place")
    p.add_argument("--unchanged", action="store_true", help="first see that every test passes without a change")
    a = p.parse_args()
    listed = yaml.safe_load(LISTED.read_text(encoding="utf-8"))
    mutants = [m for m in listed if not a.ids or m["id"] in a.ids]
    places = {m["id"]: list(mutate(ROOT, m))[1] for m in mutants}
    if a.check: return print(f"{len(mutants)} mutants find their places")
    before, copies = json.loads(FOUND.read_text()) if FOUND.exists() else {}, Queue()
    found = {m["id"]: before[m["id"]] for m in listed if m["id"] in before}
    with tempfile.TemporaryDirectory() as folder:
        for i in range(a.jobs):
            copies.put(copy := Path(folder)/f"{i}"/"checkout")
            shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
            (copy/"results").symlink_to(ROOT/"results")
        if a.unchanged:
            tests = sorted({tuple(command(copy, t, places[m["id"]])) for m in mutants for t in m["tests"]})
            broken = [" ".join(t[1:]) for t in tests if fails(copy, list(t), 3 * a.seconds)]
            if broken: raise SystemExit(f"these fail without a change: {broken}")
        def run(mutant):
            copy = copies.get()
            try: return mutant, judge(copy, mutant, a.seconds)
            finally: copies.put(copy)
        with ThreadPoolExecutor(a.jobs) as pool:
            for mutant, by in pool.map(run, mutants):
                found[mutant["id"]] = {"state": "killed" if by else "survived", **by}
                print(mutant["id"], *found[mutant["id"]].values(), flush=True)
                FOUND.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    print(f"{sum(f['state'] == 'killed' for f in found.values())} of {len(found)} killed")


if __name__ == "__main__": sys.exit(main())
