"""Random input to what reads the text of others, by hypothesis: whatever is read, it ends with a result or one sentence (`make fuzz`).

`python tests/fuzz.py parser 600` feeds one target for so many seconds and prints how many inputs it tried; tests/test_fuzz.py feeds each a few, seeded.
The readers of loci are fed here too; 11_readers has tests of its own.
"""
import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from generank.core import UserError, parse_yaml, printable, read_json, redact

SYMBOLS = ["IL4", "IL13", "RAD50", "C9orf72", "HLA-DRB1", "A", "none", "genes"]
PIECES = ["<genes>", "</genes>", "<reasoning>", "</reasoning>", "<genes", "genes>", "[", "]", ",", ";", "\n", " ", "1. ", "- ", "**", "(", ")", ":", "|", "→", "and ", "\x00", "\u202e", "𝔸", *SYMBOLS]
WORDS = st.one_of(st.text(max_size=40), st.sampled_from(PIECES), st.sampled_from(["=1+1", "../../x", "<script>", "\x1b[2J", "1e400", "-0", "nan", "NA", "1:2_A_T", "chrX", "hg19", "5e-8"]))
PLAIN = st.recursive(st.one_of(st.none(), st.booleans(), st.integers(-10**20, 10**20), st.floats(), WORDS),
                     lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=4)), max_leaves=12)


TARGETS = {}


def target(*strategies):
    "Decorator: a target, fed from these strategies."
    def keep(function):
        TARGETS[function.__name__] = strategies, function
        return function
    return keep


def sentence(error):
    "What every refusal must be: one line of printable text."
    text = str(error)
    assert text and "\n" not in text.strip() and text == printable(text), repr(text)


ANSWERS = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=60).map("".join), st.tuples(st.sampled_from(PIECES), st.integers(1, 3000)).map(lambda p: p[0] * p[1]))


@target(ANSWERS, st.one_of(st.none(), st.lists(st.one_of(st.sampled_from(SYMBOLS), st.text(min_size=1, max_size=8)), max_size=6)), st.sampled_from(["strict", "lenient"]))
def parser(text, candidates, mode):
    "An answer is read in time, its genes are distinct, its problems known, and reading what was read changes nothing."
    from generank.parsing import PROBLEMS, parse_answer
    from generank.prompts import format_answer
    began = time.process_time()
    answer = parse_answer(text, candidates, mode)
    assert time.process_time() - began < 2, "too slow"
    assert len(set(answer.genes)) == len(answer.genes) and set(answer.problems) <= set(PROBLEMS)
    assert all(isinstance(g, str) and g for g in answer.genes)
    if mode == "strict" and candidates is not None and not answer.problems and all(g in SYMBOLS for g in answer.genes):
        assert parse_answer(format_answer(answer.genes), candidates).genes == answer.genes


def _places(content, path=()):
    "Every place in nested mappings."
    found = [path] if path else []
    if isinstance(content, dict): found += [p for k, v in content.items() for p in _places(v, (*path, k))]
    return found


@target(st.data())
def profiles(data):
    "A profile with random values at known and unknown places, as settings and as YAML text."
    from generank.profile import resolve
    base = resolve("tiny")
    path = data.draw(st.sampled_from(_places({k: v for k, v in base.items() if k not in ("arms", "probes")})))
    name = ".".join(map(str, path)) if data.draw(st.booleans()) else data.draw(st.sampled_from(["arms", "arms.grpo-rank.reward", "arms.grpo-rank.name", "probes", "styles", "grpo.lora", "grpo.trl", "x.y", "", "."]))
    try: made = resolve("tiny", {name: data.draw(PLAIN)})
    except UserError as e: return sentence(e)
    assert all(set(a["name"]) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") for a in made["arms"])
    assert "/" not in made["profile"] and redact(json.dumps(made)) == json.dumps(made)


@target(st.one_of(st.text(), st.binary(), PLAIN.map(lambda v: json.dumps(v, allow_nan=True)), st.lists(st.sampled_from(["a: ", "- ", "[", "]", "{", "}", "&a ", "*a", "!!python/object/apply:os.system ", "\n", "  ", "\t", "'", '"', "|", ">"]), max_size=40).map("".join)))
def files(content):
    "Any bytes as JSON and as YAML."
    from generank.core import read_yaml
    path = Path(tempfile.gettempdir())/f"fuzz-{os.getpid()}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    for read in (read_json, read_yaml):
        try: read(path)
        except UserError as e: sentence(e)
    path.unlink()


@target(st.data())
def folders(data):
    "A run folder whose manifest or settings hold random values, read as `runs`, `evaluate` and `--resume` do."
    from generank.pipeline import open_run, plan, runs_table, summary
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    from generank.profile import resolve
    config, manifest = resolve("tiny"), {"stages": {"data": {"status": "done", "artefacts": {}, "made_from": {"parameters": {}, "code": {}, "files": {}}, "seconds": 1.0}}, "cost": {}, "hardware": {}}
    def spoil(content):
        place = data.draw(st.sampled_from(_places(content)))
        inner = content
        for key in place[:-1]: inner = inner[key]
        inner[place[-1]] = data.draw(PLAIN)
        return content
    which = data.draw(st.sampled_from(["config", "manifest", "both", "bytes"]))
    if which in ("config", "both"): config = spoil(config)
    if which in ("manifest", "both"): manifest = spoil(manifest)
    (folder/"config.yaml").write_text(json.dumps(config))
    (folder/"manifest.json").write_bytes(data.draw(st.binary()) if which == "bytes" else json.dumps(manifest).encode())
    if data.draw(st.booleans()):
        (folder/"evaluation").mkdir()
        (folder/"evaluation"/"metrics.json").write_text(json.dumps(data.draw(PLAIN)))
    try:
        try: runs_table([summary(folder)])
        except UserError as e: sentence(e)
        try: plan(open_run(None, folder, resume=True))
        except UserError as e: sentence(e)
    finally:
        import shutil
        shutil.rmtree(folder)


@target(st.lists(st.lists(WORDS, min_size=1, max_size=6), min_size=1, max_size=5), st.sampled_from([",", "\t", ";"]), st.sampled_from(["csv", "tsv", "jsonl", "txt"]), st.booleans())
def readers(rows, separator, ending, known):
    "A file of loci with random cells, below a known header or a random one."
    from generank.readers import read_loci as read_own
    from generank.sources import read_loci
    path = Path(tempfile.gettempdir())/f"fuzz-{os.getpid()}.{ending}"
    head = [["trait", "candidates", "causal_gene", "chrom", "pos", "rsid"]] if known else []
    text = "\n".join(json.dumps(dict(zip(head[0] if head else map(str, range(6)), r))) for r in rows) if ending == "jsonl" else "\n".join(separator.join(r) for r in [*head, *rows])
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        for read in (lambda: read_loci(path), lambda: read_own(path)):
            try: read()
            except UserError as e: sentence(e)
    finally: path.unlink()


def fuzz(name, seconds=None, most=10**9, number=1):
    "Feed a target; how many inputs it took. The first that fails is shown small, as hypothesis does."
    (strategies, function), tried, end = TARGETS[name], 0, time.monotonic() + (seconds or 10**9)
    def counted(drawn):
        nonlocal tried
        tried += 1
        function(*drawn)
    how = dict(deadline=None, database=None, phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck))
    while tried < most and time.monotonic() < end:
        seed(number)(settings(max_examples=min(most - tried, 100), **how)(given(st.tuples(*strategies))(counted)))()
        number += 1
    return tried


def main():
    parser_ = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser_.add_argument("target", choices=[*TARGETS, "all"])
    parser_.add_argument("seconds", type=float)
    parser_.add_argument("--seed", type=int)
    asked = parser_.parse_args()
    for name in TARGETS if asked.target == "all" else [asked.target]:
        began, number = time.monotonic(), asked.seed or random.randrange(10**6) * 10**4
        print(json.dumps({"target": name, "first seed": number, "inputs": fuzz(name, asked.seconds, number=number), "seconds": round(time.monotonic() - began)}), flush=True)


if __name__ == "__main__": sys.exit(main())
