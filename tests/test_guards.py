"""Every refusal of the data's modules is taken out once, and the case that tests it must then fail: no guard without a test, no test that can't fail."""
import ast
import inspect
from importlib import import_module
from pathlib import Path

import pytest
from test_broken_data import CASES, tell

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # what is no longer refused may well divide by zero
MODULES = {import_module(f"generank.{name}").__file__: import_module(f"generank.{name}")
           for name in ("core", "genes", "tables", "readers", "sources", "data", "figures", "export")}
COVERED = [path for path in MODULES if Path(path).stem in ("genes", "tables", "readers", "sources", "data")]  # of core, figures and export CASES has what concerns loci


def guards(path):
    """The first and last line of every `raise` of a module that makes an error, and whether it stands in an `except`.

    What rejects one row of a file (`Rejected`) ends nothing: tests/test_readers.py has the rows."""
    found = []
    def walk(node, caught):
        if isinstance(node, ast.Raise) and node.exc is not None and not ast.unparse(node.exc).startswith("Rejected("): found.append((node.lineno, node.end_lineno, caught))
        inside = caught or isinstance(node, ast.ExceptHandler)
        for child in ast.iter_child_nodes(node): walk(child, inside and not isinstance(child, ast.FunctionDef))
    walk(ast.parse(Path(path).read_text(encoding="utf-8")), False)
    return found


def guard_of(error):
    "Path and first line of the `raise` that an error came from."
    frame = error.tb
    while frame.tb_next is not None: frame = frame.tb_next
    path = frame.tb_frame.f_code.co_filename
    return next((path, first) for first, last, _ in guards(path) if first <= frame.tb_lineno <= last)


class Without(ast.NodeTransformer):
    "One guard taken out: it lets everything pass, or, in an `except`, lets the first error through."
    def __init__(self, line, caught): self.line, self.caught = line, caught
    def visit_Raise(self, node):
        if node.lineno != self.line: return node
        return ast.copy_location(ast.Raise() if self.caught else ast.Pass(), node)


def codes(code):
    "Every code object inside one, by qualified name and first line."
    inner = [c for c in code.co_consts if inspect.iscode(c)]
    return {(c.co_qualname, c.co_firstlineno): c for c in inner} | {k: v for c in inner for k, v in codes(c).items()}


def take_out(path, line, monkeypatch):
    "Run the function that holds a guard without it, wherever it has been imported to."
    source = Path(path).read_text(encoding="utf-8")
    caught = next(c for first, _, c in guards(path) if first == line)
    before = codes(compile(source, path, "exec"))
    after = codes(compile(ast.fix_missing_locations(Without(line, caught).visit(ast.parse(source))), path, "exec"))
    changed = [k for k, code in before.items() if code.co_code != after[k].co_code or code.co_consts != after[k].co_consts]
    name = min((k[0] for k in changed), key=len)
    function = inspect.unwrap(getattr(MODULES[path], name))
    monkeypatch.setattr(function, "__code__", next(after[k] for k in changed if k[0] == name))


def test_every_guard_has_its_case(tmp_path_factory):
    hit = set()
    for kind in CASES:
        with pytest.MonkeyPatch.context() as patch: hit.add(guard_of(tell(kind, tmp_path_factory.mktemp("case"), patch)))
    every = {(path, first) for path in COVERED for first, *_ in guards(path)}
    assert len(every) > 70
    assert sorted(f"{Path(p).name}, line {n}" for p, n in every - hit) == [], "guards that no broken input reaches"


@pytest.mark.parametrize("kind", CASES)
def test_the_case_fails_without_its_guard(kind, tmp_path, monkeypatch):
    (tmp_path/"with").mkdir(), (tmp_path/"without").mkdir()
    with monkeypatch.context() as patch: path, line = guard_of(tell(kind, tmp_path/"with", patch))
    take_out(path, line, monkeypatch)
    try:
        with monkeypatch.context() as patch: tell(kind, tmp_path/"without", patch)
    except (Exception, pytest.fail.Exception): return
    pytest.fail(f"{Path(path).name} refuses in line {line}; without that the case {kind!r} passes all the same")


def test_the_case_passes_without_another_guard(tmp_path, monkeypatch):
    "It is the missing guard that makes a case fail, and not its removal."
    (tmp_path/"other").mkdir(), (tmp_path/"mine").mkdir()
    with monkeypatch.context() as patch: path, line = guard_of(tell("empty trait", tmp_path/"other", patch))
    take_out(path, line, monkeypatch)
    tell("one candidate", tmp_path/"mine", monkeypatch)
