"""Random input to what reads the text of others, by hypothesis: whatever is read, it ends with a result or one sentence (`make fuzz`).

`python tests/fuzz.py parser 600` feeds one target for so many seconds and prints how many inputs it tried; `--out FILE` adds a line of JSON a minute,
and the same command goes on from there. `python tests/fuzz.py table 0 --out FILE` prints the rows of tests/README.md. tests/test_fuzz.py feeds each target a few, seeded.
"""
import argparse
import functools
import gzip
import hashlib
import io
import itertools
import json
import logging
import os
import random
import re
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from tqdm import tqdm

from generank.core import UserError, parse_yaml, printable, read_json, redact

SYMBOLS = ["IL4", "IL13", "RAD50", "C9orf72", "HLA-DRB1", "A", "none", "genes"]
PIECES = ["<genes>", "</genes>", "<reasoning>", "</reasoning>", "<genes", "genes>", "[", "]", ",", ";", "\n", " ", "1. ", "- ", "**", "(", ")", ":", "|", "→", "and ", "\x00", "\u202e", "𝔸", *SYMBOLS]
WORDS = st.one_of(st.text(max_size=40), st.sampled_from(PIECES), st.sampled_from(["=1+1", "../../x", "<script>", "\x1b[2J", "1e400", "-0", "nan", "NA", "1:2_A_T", "chrX", "hg19", "5e-8"]))
PLAIN = st.recursive(st.one_of(st.none(), st.booleans(), st.integers(-10**20, 10**20), st.floats(), WORDS),
                     lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=4)), max_leaves=12)


TARGETS, TRIED = {}, Counter()   # TRIED: inputs so far, by target


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


LISTED = st.builds(lambda genes, mark, around: around[0] + mark.join(genes) + around[1], st.lists(st.one_of(st.sampled_from(SYMBOLS), st.sampled_from(["IL-4", "il13", "**A**", "`RAD50`", "IL4 (a note)", "IL4: 1 Mb", "TGF-β"]), st.text(max_size=6)), max_size=8),
                   st.sampled_from([", ", ",", "; ", "\n", "\n- ", "\n1. ", " > ", " and ", "|", " → ", "\t", ""]), st.sampled_from([("[", "]"), ("", ""), ("[", ""), ("genes: [", "]"), ("1. ", ""), ("**", "**"), ("[[", "]]")]))
WRAPPED = st.builds(lambda before, opened, listed, closed, after: before + opened + listed + closed + after, st.one_of(st.just(""), st.text(max_size=20), st.just("<reasoning>near IL4</reasoning>"), st.just("<reasoning>IL13 <genes> [A]")),
                    st.sampled_from(["<genes> ", "<genes>", "< GENES >", "<genes", "", "<genes>\n<genes>"]), LISTED, st.sampled_from([" </genes>", "</genes>", "</ genes>", "", " </gen", "</genes></genes>", " <genes>"]), st.one_of(st.just(""), st.text(max_size=20)))
ANSWERS = st.one_of(WRAPPED, st.lists(WRAPPED, min_size=2, max_size=3).map("\n".join), st.text(), st.lists(st.sampled_from(PIECES), max_size=60).map("".join),
                    st.tuples(st.sampled_from(PIECES), st.integers(1, 3000)).map(lambda p: p[0] * p[1]))


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


@functools.cache
def recorded_run():
    "A finished run folder in small: the text files of a recorded run, few answers, a store, a checkpoint. (name -> bytes)"
    import pandas as pd

    from generank.profile import resolve
    run = Path(__file__).resolve().parents[1]/"results"/"laptop-long"/"seed-1"
    files = {name: (run/name).read_bytes() for name in ("evaluation/metrics.json", "evaluation/comparisons.json", "manifest.json", "data/card.json", "models/grpo-rank/training.json")}
    files["models/grpo-rank/metrics.jsonl"] = b"".join((run/"models/grpo-rank/metrics.jsonl").read_bytes().splitlines(keepends=True)[:3])
    files["config.yaml"] = json.dumps(resolve("tiny")).encode()
    for name in ("data/loci.parquet", "responses/grpo-rank.parquet"): files[name] = pd.read_parquet(run/name).head(4).to_parquet()
    files["responses/store/grpo-rank.jsonl"] = json.dumps([{"key": "a", "completion": "<genes> [IL4] </genes>", "n_tokens": 3}]).encode() + b"\n"
    files["models/grpo-rank/adapter_config.json"] = json.dumps({"r": 4, "target_modules": ["q_proj"]}).encode()
    state = files["models/grpo-rank/checkpoints/checkpoint-2/trainer_state.json"] = b'{"global_step": 2}'
    files["models/grpo-rank/checkpoints/checkpoint-2/complete.json"] = json.dumps({"trainer_state.json": hashlib.sha256(state).hexdigest()}).encode()
    files["sweep.yaml"] = b"{profile: tiny, overrides: [], sweep: ['seed=1,2']}"
    return files


def spoilt(content, data):
    "One file of a run folder as chance leaves it: other bytes, cut, or a random value at a random place of its JSON (of a log: of a line)."
    how = data.draw(st.sampled_from(["value", "value", "value", "cut", "bytes", "whole"]))
    if how == "bytes": return data.draw(st.binary())
    if how == "cut": return content[:data.draw(st.integers(0, len(content)))]
    if how == "whole": return json.dumps(data.draw(PLAIN)).encode()
    try: value = {"": json.loads(content)}
    except ValueError:
        at = data.draw(st.integers(0, len(content)))
        return content[:at] + data.draw(st.binary(min_size=1, max_size=8)) + content[at:]
    inner, key = value, ""
    while isinstance(inner[key], (dict, list)) and inner[key] and data.draw(st.integers(0, 3)):   # level by level, so that what stands high up is reached as often
        inner, key = inner[key], data.draw(st.sampled_from(sorted(inner[key]) if isinstance(inner[key], dict) else range(len(inner[key]))))
    inner[key] = data.draw(PLAIN)
    return json.dumps(value[""]).encode()


def read_folder(files, spoilt):
    "Write a run folder and read it as `runs`, `--resume`, `--reuse`, `evaluate`, a sweep and the report do; the refusals, each one sentence."
    from generank import checkpoints, pipeline, store, sweeps
    from generank.models import adapter_settings
    from generank.report import FILES, Numbers
    refused = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        folder = Path(place)/"run"
        for name, content in files.items():
            (folder/name).parent.mkdir(parents=True, exist_ok=True)
            (folder/name).write_bytes(content)
        arm, numbers = folder/"models"/"grpo-rank", Numbers(folder)
        steps = [lambda: pipeline.runs_table([pipeline.summary(folder)]), lambda: store.read_records(folder/"responses"/"store"/"grpo-rank.jsonl"),
                 lambda: checkpoints.read_metrics(arm/"metrics.jsonl"), lambda: checkpoints.newest_checkpoint(arm/"checkpoints"), lambda: adapter_settings(arm),
                 lambda: sweeps.points(sweeps.read_sweep(folder)["sweep"]), *(lambda f=f: numbers(f) for f in FILES if f != "robustness"),
                 *(lambda n=n: numbers.file(n) for n in files if n.endswith(".parquet"))]
        if {"config.yaml", "manifest.json"} & set(spoilt):   # hashes the code, so slow that it is left out where it would see nothing new
            steps += [lambda: pipeline.plan(pipeline.open_run(None, folder, resume=True)), lambda: pipeline.settings_differ([folder, folder])]
        for step in steps:
            try: step()
            except UserError as e:
                sentence(e)
                refused.append(str(e))
    return refused


@target(st.data())
def folders(data):
    "A run folder of which one or two files are spoilt."
    names = data.draw(st.lists(st.sampled_from(sorted(recorded_run())), min_size=1, max_size=2, unique=True))
    read_folder({**recorded_run(), **{name: spoilt(recorded_run()[name], data) for name in names}}, names)


def xlsx(rows):
    import openpyxl
    book, out = openpyxl.Workbook(), io.BytesIO()
    for row in rows: book.active.append([re.sub(r"[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]", "", c) for c in row])
    book.save(out)
    return out.getvalue()


def packed(name, data):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z: z.writestr(name, data)
    return out.getvalue()


@target(st.data())
def readers(data):
    "A file of each kind that geneticists have (those of tests/test_readers.py), with other cells, rows, bytes and packing, read with and without options."
    from test_readers import FILES, GENES

    from generank import readers, sources
    own = [["trait", "candidates", "causal_gene", "chrom", "pos", "rsid"]] + data.draw(st.lists(st.lists(WORDS, min_size=6, max_size=6), min_size=1, max_size=4))
    kind = data.draw(st.sampled_from(["ours", *FILES]))
    text, options = (FILES[kind][0], dict(FILES[kind][1])) if kind != "ours" else ("\n".join("\t".join(row) for row in own), {})
    if isinstance(text, bytes): text = text.decode("utf-16" if kind == "UTF-16" else "latin-1")
    lines = text.split("\n")
    mark = max("\t;, ", key=lambda m: sum(line.count(m) for line in lines))
    for change in data.draw(st.lists(st.sampled_from(["cell", "cell", "column", "row", "twice", "join", "JSON"]), max_size=4)):
        at = data.draw(st.integers(0, len(lines) - 1))
        cells = lines[at].split(mark)
        which = data.draw(st.integers(0, len(cells) - 1))
        if change == "cell": lines[at] = mark.join([*cells[:which], data.draw(WORDS), *cells[which + 1:]])
        if change == "column": lines = [mark.join(c for i, c in enumerate(line.split(mark)) if i != which) for line in lines]
        if change == "row": lines.insert(at, data.draw(WORDS))
        if change == "twice": lines.insert(at, lines[at])
        if change == "join" and at: lines[at - 1:at + 1] = ["".join(lines[at - 1:at + 1])]
        if change == "JSON": lines = [json.dumps(dict(zip(lines[0].split(mark), line.split(mark)))) for line in lines[1:]] or ["[]"]
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    way = data.draw(st.sampled_from(["plain", "plain", "gzip", "zip", "xlsx", "utf-16", "parquet", "spoilt"]))
    if way == "xlsx": content = xlsx([line.split(mark) for line in lines])
    if way == "utf-16": content = "\n".join(lines).encode("utf-16", "surrogatepass")
    if way == "gzip": content = gzip.compress(content)
    if way == "zip": content = packed("loci.csv", content)
    if way == "parquet":
        import pandas as pd
        content = pd.DataFrame(zip(*itertools.zip_longest(*(line.encode("utf-8", "replace").decode().split(mark) for line in lines)))).rename(columns=str).to_parquet()
    if way == "spoilt":
        at = data.draw(st.integers(0, len(content)))
        content = data.draw(st.sampled_from([content[:at], content[:at] + data.draw(st.binary(max_size=4)) + content[at:], gzip.compress(content)[:at], packed("a", content)[:at]]))
    if data.draw(st.booleans()): options = data.draw(st.fixed_dictionaries({}, optional={"trait": WORDS, "build": st.sampled_from(["hg19", "GRCh38", "hg18", ""]), "clump": st.integers(1, 10**6)}))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        path = Path(place)/f"loci.{data.draw(st.sampled_from(['csv', 'tsv', 'txt', 'jsonl', 'xlsx', 'parquet']))}"
        path.write_bytes(content)
        for read in (lambda: json.dumps(readers.check_json(path, genes=GENES, **options), allow_nan=False), lambda: readers.is_unlabelled(path), lambda: sources.read_loci(path)):
            try: read()
            except UserError as e: sentence(e)


def fuzz(name, seconds=None, most=10**9, number=1):
    "Feed a target; how many inputs it took. The first that fails is shown small, as hypothesis does."
    logging.getLogger("generank").setLevel(logging.ERROR)   # what is passed over with a warning is passed over
    (strategies, function), before, end = TARGETS[name], TRIED[name], time.monotonic() + (seconds or 10**9)
    def counted(drawn):
        TRIED[name] += 1
        function(*drawn)
    how = dict(deadline=None, database=None, phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck))
    while (tried := TRIED[name] - before) < most and time.monotonic() < end:
        seed(number)(settings(max_examples=min(most - tried, 100), **how)(given(st.tuples(*strategies))(counted)))()
        number += 1
    return tried


def feed(name, seconds, number, out):
    "Feed a target until its lines in `out` sum up to so many seconds, a minute a line; its sums."
    if out: out.parent.mkdir(parents=True, exist_ok=True)
    done = [r for line in (out.read_text().splitlines() if out and out.exists() else []) if (r := json.loads(line))["target"] == name]
    spent, tried, failed = *(sum(r[k] for r in done) for k in ("seconds", "inputs")), sum(r["failure"] is not None for r in done)
    if done: number = max(r["first seed"] for r in done) + 10**4   # not the same inputs again
    with tqdm(total=seconds, initial=spent, desc=name, unit="s", bar_format="{desc}: {percentage:3.0f}% |{bar}| {elapsed}<{remaining}", dynamic_ncols=True, disable=not seconds) as bar:
        while spent < seconds and failed < 5:
            began = time.monotonic()
            before, failure = TRIED[name], None
            try: fuzz(name, min(60, seconds - spent), number=number)
            except Exception:   # a finding: noted, shown, and other inputs follow
                failure = traceback.format_exc()[-3000:]
                print(failure, file=sys.stderr, flush=True)
            inputs = TRIED[name] - before
            row = {"target": name, "first seed": number, "inputs": inputs, "seconds": round(time.monotonic() - began, 1), "failure": failure}
            if out:
                with open(out, "a") as f: f.write(json.dumps(row) + "\n")
            spent, tried, number = spent + row["seconds"], tried + inputs, number + 10**4
            bar.update(min(row["seconds"], seconds - bar.n))
            failed += failure is not None
    return {"target": name, "inputs": tried, "failed": failed, "seconds": round(spent), "last seed": number}


def main():
    parser_ = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser_.add_argument("target", choices=[*TARGETS, "all", "table"])
    parser_.add_argument("seconds", type=float)
    parser_.add_argument("--seed", type=int, default=1, help="of the first input; each hundred inputs take the next one")
    parser_.add_argument("--out", type=Path, help="file for a line of JSON a minute; what it holds counts")
    asked, found = parser_.parse_args(), 0
    for name in TARGETS if asked.target in ("all", "table") else [asked.target]:
        done = feed(name, 0 if asked.target == "table" else asked.seconds, asked.seed, asked.out)
        if asked.target == "table": print(f"| {TARGETS[name][1].__doc__.strip().splitlines()[0]} (`{name}`) | {done['inputs']:,} | {done['inputs'] - done['failed']:,} | {done['failed']} |")
        else: print(json.dumps(done), flush=True)
        found += done["failed"]
    return int(found > 0)


if __name__ == "__main__": sys.exit(main())
