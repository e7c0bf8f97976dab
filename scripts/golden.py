"""Record what the project does, and compare with it: `python scripts/golden.py record|compare [PART ...]`.

The records lie in tests/golden/. `compare` lists every difference by its key and ends with 1 if one of them is
not named (globs allowed) in tests/golden/explained.yaml, which maps keys to one sentence of reason each."""
import argparse, contextlib, fnmatch, hashlib, importlib, io, json, math, os, platform, re, subprocess, sys, tempfile
from pathlib import Path

os.environ |= {"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb", "HF_HUB_OFFLINE": "1"}
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
GOLDEN, PUBLISHED = ROOT/"tests"/"golden", ROOT.parent/"shared"/"data"/"published"
GOLD = PUBLISHED.parent/"gold_standards"
NAMES = ["zero_shot_8b", "grpo_8b", "grpo_8b_binary_reward", "zero_shot_70b", "zero_shot_8b_short_prompt"]


def find(name):
    "A thing of the library by its name, whichever module defines it."
    where = [p.stem for p in sorted((ROOT/"generank").glob("*.py"))
             if re.search(rf"^(?:def|class) {name}\b|^{name}\s*=", p.read_text(encoding="utf-8"), re.M)]
    if len(where) != 1: raise SystemExit(f"{name} is defined in {where or 'no module'}: repoint scripts/golden.py")
    return getattr(importlib.import_module(f"generank.{where[0]}"), name)


# the names that this script relies on besides those of the design; repoint them here
def resolved():
    return {p.stem: find("resolve")(p.stem) for p in sorted((ROOT/"generank"/"profiles").glob("*.yaml"))}
def styles(): return list(find("STYLES"))
def rewards(): return find("REWARDS")
def rows(kind): return find(f"{kind}_rows")
def command_line():
    import typer.main
    from generank.cli import app
    return typer.main.get_command(app)


def digest(value): return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def tidy(value):
    "Plain data as JSON holds it: floats of six digits, no NaN."
    if isinstance(value, dict): return {str(k): tidy(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)): return [tidy(v) for v in value]
    if isinstance(value, float): return None if math.isnan(value) else round(value, 6) + 0.0
    return value


def call(*arguments):
    "What a command prints on standard output, and its exit code."
    from generank.cli import main
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = main([str(a) for a in arguments])
    return out.getvalue(), code


def help_texts():
    "Every command: its help text, and its parameters with their types and defaults."
    found = {}
    def walk(command, words):
        kind = lambda p: str(getattr(getattr(p, "type_descriptor", None), "annotation", None))
        params = {p.name: [p.param_type_name, [*p.opts, *p.secondary_opts], kind(p), getattr(p, "multiple", p.nargs),
                           p.required, str(p.default)] for p in command.params}
        text = [line.rstrip() for line in call(*words, "--help")[0].splitlines()]
        found[" ".join(["generank", *words])] = {"text": text, "params": params}
        for name, sub in sorted(getattr(command, "commands", {}).items()): walk(sub, [*words, name])
    walk(command_line(), [])
    return found


OPEN = ("elsewhere", "obstacles", "differences")   # what lies below depends on the machine, or is named by paths


def key_paths(value, at="", found=None, loose=False):
    "Path -> types of what lies there, the elements of a list taken together."
    found, name = {} if found is None else found, at.split(".")[-1]
    kind = {bool: "bool", int: "int", float: "float", str: "text", type(None): "null", list: "list", dict: "object"}
    found.setdefault(at or ".", set()).add("any" if loose or name in OPEN else kind[type(value)])
    if name in OPEN: return found
    for k, v in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        key_paths(v, f"{at}[]" if isinstance(value, list) else f"{at}.{k}", found, loose or name == "forecast")
    return found


def json_keys():
    "The shape of what every command that is quick and works offline prints with --json."
    responses = sorted((ROOT/"results/laptop-long/seed-1/responses").glob("*.parquet"))
    seeds = [ROOT/f"results/laptop-long/seed-{s}" for s in (1, 2)]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        loci = [("asthma", "IL4, IL13, RAD50", "IL13"), ("gout", "ABCG2, PKD2, SPP1", "ABCG2")]
        Path("loci.csv").write_text("trait,candidates,causal_gene\n" + "".join(f'{t},"{c}",{g}\n' for t, c, g in loci))
        Path("mine.csv").write_text("trait,candidates\n" + "".join(f'{t},"{c}"\n' for t, c, _ in loci))
        few = ["--draws", "1000"]
        calls = {
            "run": ["run", "--profile", "tiny", "--dry-run"], "runs": ["runs", *seeds],
            "sweep": ["run", "--profile", "a100", "--sweep", "seed=1,2", "--dry-run"],
            "doctor": ["doctor", "--profile", "tiny"],
            "data check": ["data", "check"], "data check FILE": ["data", "check", "loci.csv"],
            "data describe": ["data", "describe", "--no-figures"],
            "data describe FILE": ["data", "describe", "loci.csv", "--no-figures"],
            "infer": ["infer", "--profile", "tiny", "--out", "a.parquet"],
            "rank": ["rank", "mine.csv", "--profile", "tiny", "--out", "r.csv"],
            "evaluate": ["evaluate", *responses, *few],
            "evaluate --margin": ["evaluate", *responses, *few, "--margin", "0.05"],
            "evaluate --scoring": ["evaluate", responses[0], "--scoring", "lenient", *few, "--k", "1,2"]}
        told = {name: call(*arguments, "--json") for name, arguments in calls.items()}
    shape = lambda text: {k: "|".join(sorted(v)) for k, v in key_paths(json.loads(text)).items()}
    return {name: {"exit": code, **shape(text)} for name, (text, code) in told.items()}


def main_numbers(result):
    "The main numbers of an evaluation, as `evaluate` gives it or as two files of a run hold it."
    numbers = ("difference", "ci_low", "ci_high", "only_a", "only_b", "mcnemar_p", "cluster_p", "holm_p")
    points = ("n", "n_clusters", "mrr", "mrr_ci_low", "mrr_ci_high", "mrr_completed", "format_error_rate",
              "mean_list_length")
    ends = ("accuracy", "ci_low", "ci_high", "se_clustered")
    top = lambda r: {f"top_{k}": [t[x] for x in ends] for k, t in r["top_k"].items()}
    primary = [] if isinstance(result["primary"], str) else result["primary"]
    pairs = [*(("k", c) for c in result["comparisons"]), *(("metric", c) for c in primary)]
    return tidy({"runs": {r["name"]: {**{k: r.get(k) for k in points}, **top(r)} for r in result["runs"]},
                 "comparisons": {f"{c['a']} - {c['b']}, {key} {c[key]}": [c[n] for n in numbers] for key, c in pairs}})


def run_numbers(folder):
    "The main numbers of a run folder."
    metrics, compared = (json.loads((folder/"evaluation"/f"{n}.json").read_text()) for n in ("metrics", "comparisons"))
    return main_numbers(metrics | compared)


def tiny(folder=None):
    "What a run of the profile `tiny` leaves; `folder`: one that is there."
    if folder is None:
        with tempfile.TemporaryDirectory() as made:
            start = "import sys; from generank.cli import main; sys.exit(main(sys.argv[1:]))"
            env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-c", start, "run", "--profile", "tiny", "--out", "run"]
            done = subprocess.run(command, cwd=made, env=env, capture_output=True, text=True)
            if done.returncode: raise SystemExit(f"the tiny run failed:\n{done.stderr}")
            return tiny(Path(made)/"run")
    import numpy as np, pandas as pd, torch
    from safetensors.torch import load_file
    folder = Path(folder)
    kept = [p.relative_to(folder) for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")]
    files = sorted(re.sub(r"tfevents.*", "tfevents", str(p)) for p in kept if p.parts[0] != "site")
    plain = lambda v: v.tolist() if isinstance(v, (np.ndarray, np.generic)) else v
    def table(path, columns):
        ordered = pd.read_parquet(path)[columns].sort_values(columns[0], kind="stable")
        return digest(ordered.map(plain).to_dict("records"))
    def weights(path):
        return digest({k: hashlib.sha256(v.contiguous().numpy()).hexdigest() for k, v in load_file(path).items()})
    loci = folder/"data"/"loci.parquet"
    columns = sorted(pd.read_parquet(loci), key=lambda c: (c != "locus_id", c))
    logs = [line for p in sorted(folder.glob("models/*/metrics.jsonl")) for line in p.read_text().splitlines()]
    steps = [{k: v for k, v in json.loads(line).items() if not re.search("time|second|memory", k)} for line in logs]
    version, kind = torch.__version__.split("+")[0], torch.backends.cpu.get_cpu_capability()
    said = sorted(folder.glob("responses/*.parquet"))
    return {"machine": f"{platform.machine()}, torch {version}, {kind}", "files": files, "loci": table(loci, columns),
            "numbers": run_numbers(folder), "steps": tidy(steps),
            "weights": {p.parent.name: weights(p) for p in sorted(folder.glob("models/*/adapter_model.safetensors"))},
            "answers": {p.stem: table(p, ["locus_id", "sample", "completion"]) for p in said}}


def published():
    "The first published run's answers, analysed anew; None where they are absent."
    if not PUBLISHED.is_dir(): return None
    files = [PUBLISHED/f"{n}_results.csv" for n in NAMES]
    shown = {"lenient": [], "strict": ["--scoring", "strict"]}
    asked = ["evaluate", *files, "--json", "--cluster-by", "causal_gene", "--draws", "2000"]
    found = {n: main_numbers(json.loads(call(*asked, *more)[0])) for n, more in shown.items()}
    with tempfile.TemporaryDirectory() as folder:
        build = ["data", "build", "--gold-standards", GOLD.parent, "--out", folder, "--json"]
        if GOLD.exists(): found["built"] = json.loads(call(*build)[0])["card"]
    return found


def recorded():
    "The recorded runs' main numbers as they were written, and the points of the recorded answers scored again."
    found, points = {}, ("n", "mrr", "mrr_completed", "format_error_rate", "mean_list_length")
    evaluate = importlib.import_module("generank.evaluation").evaluate
    for folder in sorted((ROOT/"results").glob("*/seed-*")):
        again = evaluate([str(p) for p in sorted((folder/"responses").glob("*.parquet"))], draws=1000)["runs"]
        tops = lambda r: {f"top_{k}": t["accuracy"] for k, t in r["top_k"].items()}
        scored = {r["name"]: tidy({**{k: r[k] for k in points}, **tops(r)}) for r in again}
        found[str(folder.relative_to(ROOT/"results"))] = {**run_numbers(folder), "scored again": scored}
    return found


def parser():
    "What the parser and every reward make of varied answers (tests/golden/answers.json)."
    parse, given = find("parse_answer"), json.loads((GOLDEN/"answers.json").read_text(encoding="utf-8"))
    texts, candidates = given["texts"], given["candidates"]
    n, state = len(texts), type("State", (), {"global_step": 3})()
    completions = [[{"role": "assistant", "content": t}] for t in texts]
    columns = dict(prompts=[""] * n, completions=completions, answer=["IL13"] * n, candidates=[candidates] * n,
                   locus_id=[f"L{i % 7}" for i in range(n)], trainer_state=state)
    rewarded = {name: reward(**columns) for name, reward in rewards().items()}
    def read(*how):
        a = parse(*how)
        return [list(a.genes), a.reasoning[:60], list(a.problems)]
    ways = lambda t: {"strict": read(t, candidates), "unchecked": read(t), "lenient": read(t, candidates, "lenient")[0]}
    return tidy({f"{i:03d} {t[:60]}": {**ways(t), "rewards": {name: values[i] for name, values in rewarded.items()}}
                 for i, t in enumerate(texts)})


def prompts():
    "Prompts of five loci in every style, and the rows of each way of training."
    loci = [r for part in find("load_loci")(split="v1").values() for r in part]
    five, build = sorted(loci, key=lambda r: r["locus_id"])[::len(loci) // 5][:5], find("build_prompt")
    ask = lambda r, s, described: [m["content"] for m in build(r["trait"], r["candidates"], s, descriptions=described)]
    texts = {f"{r['locus_id']}, {s}, {'described' if d else 'plain'}": ask(r, s, d)
             for r in five for s in styles() for d in (True, False)}
    made = {"grpo": rows("grpo")(five, 12, 1), "validation": rows("validation")(five, 1),
            "warm_start": rows("warm_start")(five, 6, 2, 1), "sft": rows("sft")(five, 6, 1, style="brief", genes=6)}
    return {"prompts": texts, "rows": {k: [digest(row) for row in v] for k, v in made.items()}}


def split():
    "Which locus lies in which split, under the settings that decide it."
    load, every = find("load_loci"), importlib.import_module("generank.sources").read_loci("v1")
    with tempfile.TemporaryDirectory() as folder:
        one, other = f"{folder}/one.parquet", f"{folder}/other.parquet"
        for path, part in ((one, every.iloc[::2]), (other, every.iloc[1::2])):
            part.drop(columns=["split", "region_id"]).to_parquet(path)
        settings = {
            "default": {}, "own": dict(split="own"), "regions": dict(split="regions"), "seed 2": dict(seed=2),
            "shares": dict(seed=3, test=0.2, validation=0.3), **{f"fold {i}": dict(fold=i) for i in (1, 2, 3)},
            "fold 2, seed 5": dict(fold=2, seed=5), "faithful": dict(split="faithful"),
            "faithful, shares": dict(split="faithful", test=0.5, min_candidates=8), "file": dict(source=one),
            "transfer": dict(source=one, test_source=other),
            "transfer back": dict(source=other, test_source=one, seed=4),
            "v1": dict(source="bundled", split="v1"), "bundled": dict(source="bundled"),
            "limit": dict(limit={"train": 64, "validation": 8, "test": 16}), "high": dict(confidence=["High"]),
            "drug": dict(evidence_class="drug", max_candidates=12), "planted": dict(plant=True)}
        parts = {name: load(**{"source": "v1"} | how) for name, how in settings.items()}   # of the first split's loci
    placed = lambda parts: sorted((i, s) for s, d in parts.items() for i in d["locus_id"])
    return {n: {"counts": {s: len(d) for s, d in p.items()}, "split": digest(placed(p)),
                "rows": digest([d.to_list() for d in p.values()])} for n, p in parts.items()}


def training():
    "Sampling and scoring in groups with the random model; dynamic sampling and pass rates with a stub of a trainer."
    import torch
    from collections import Counter, defaultdict
    from types import SimpleNamespace as Space
    model = find("load_model")("random-llama", dtype="float32")[0]
    torch.manual_seed(1)
    for p in model.parameters(): p.data.mul_(3)   # so that positions and temperatures matter
    asked = [torch.randint(3, 250, (length,)).tolist() for length in (12, 7, 9)]
    ends = list(range(3, 60))
    sampled = {f"temperature {t:g}": find("sample_groups")(model, asked, 4, 12, t, ends, 0) for t in (0, 0.5, 1)}
    said, mask = torch.randint(3, 250, (3, 4, 5)), torch.ones(3, 4, 5, dtype=int)
    mask[0, 1, 3:] = 0
    logps, entropy = find("group_logps")(model, *find("left_pad")(asked, 0), said, mask, 0.7)
    keep = mask.view(12, 5).bool()
    kept = {name: [round(v, 3) for v in x[keep].tolist()] for name, x in (("logps", logps), ("entropy", entropy))}
    groups = [[0, 0], [1, 0.5], [0.5, 0.5], [0, 0], [1, 1], [0, 0.25], [0.25, 1]]   # rewards of two answers each
    rows = [{"prompt": f"p{i}", "locus_id": f"L{i}"} for i in range(len(groups))]
    score = lambda asked, made: torch.tensor([[groups[int(x["prompt"][1:])][i % 2]] for i, x in enumerate(asked)])
    generate = lambda prompts: (list(prompts), [[i] for i in range(len(prompts))], None, list(prompts))
    alone = Space(process_index=0, num_processes=1, device="cpu", gather=lambda x: x)
    stub = Space(
        num_generations=2, num_generations_eval=2, accelerator=alone, validating=False,
        model=Space(training=True, train=lambda: None),
        reward_weights=torch.ones(1), max_resamples=2, resampling_stream=rows[3:], resampled=0,
        _metrics={"train": defaultdict(list)}, _generate=generate, _pending_extra_logs={}, _pending_metrics={},
        _calculate_rewards=lambda asked, prompts, completions, ids: score(asked, completions), args=Space(generation_batch_size=4),
        state=Space(num_input_tokens_seen=0), spent=Counter())
    filled, made = find("dynamic_sampling")(stub, [x for x in rows[:3] for _ in range(2)])
    log = {k: list(v) for k, v in stub._metrics["train"].items()}
    refilled = {"rows": [x["prompt"] for x in filled], "made": made, "spares": stub.resampled, "log": log}
    rewards = find("group_rewards")(stub, score([x for x in rows for _ in range(2)], None))
    varied = find("has_variance")(rewards).tolist()
    torch.manual_seed(2)
    asked, after = find("asked_once")(stub, rows, 1), torch.rand(1).item()   # it leaves the generators as they were
    rates = {x["locus_id"]: sum(earned) / len(earned) for x, (earned, *_) in zip(rows, asked)}
    return tidy({"sampled": sampled, **kept, "refilled": refilled, "varied": varied, "rates": rates, "after": after})


def statistics():
    "Intervals and tests on made-up scores of 90 loci in 30 and in 6 clusters, with three seeds."
    import numpy as np
    rng = np.random.default_rng(7)
    se, interval, two_level, flip = map(find, ("cluster_se", "cluster_interval", "two_level_interval", "sign_flip_p"))
    clusters, found = rng.integers(0, 30, 90), {}
    values = 1 / rng.integers(1, 9, (90, 3)) + rng.normal(0, 0.01, (90, 3)) * (clusters[:, None] % 5)
    for name, of in (("30", clusters), ("6", clusters % 6)):
        one, bootstrap = values[:, 0], find("bootstrap_means")(values, of, draws=500)
        found[name] = {
            "se": se(one, of), "interval": interval(one.clip(0, 1), of),
            "flip": flip(one - values[:, 1], of, draws=500), "far": flip(one, of, draws=500),
            "exact": flip((one > 0.3) * 1.0 - (values[:, 1] > 0.3), of),
            "two levels": two_level(values, of, draws=500), "one seed": two_level(values[:, :1], of, draws=500),
            "two seeds": find("two_level_means")(values[:, :2], of, draws=500).std().item(),
            "means": bootstrap.std(axis=0).tolist(), "ends": find("percentile_interval")(bootstrap, int(name)).tolist()}
    rows = [{"step": i, "reward": float(r)} for i, r in enumerate(np.linspace(0.2, 0.4, 40) + rng.normal(0, 0.05, 40))]
    tests = lambda a, b: [find("mcnemar_p")(a, b), *find("wilson_interval")(a / (a + b), a + b)]
    pairs = {f"{a}, {b}": tests(a, b) for a, b in ((3, 9), (12, 1), (40, 52))}
    holm = find("holm")([0.03, 0.01, 0.2, 0.012])
    return tidy({**found, "slope": find("training_slope")(rows), "pairs": pairs, "holm": holm})


PARTS = {"help": help_texts, "json_keys": json_keys, "profiles": lambda: tidy(resolved()), "tiny": tiny,
         "published": published, "recorded": recorded, "parser": parser, "prompts": prompts, "split": split,
         "training": training, "statistics": statistics}
OF_MACHINE = ("steps", "weights", "answers", "numbers")   # of the tiny run: floats' last bits differ between processors


def flat(value, at):
    "Key -> leaf; a list is one leaf."
    if not isinstance(value, dict): return {at: value}
    return {k: v for name, inner in value.items() for k, v in flat(inner, f"{at}/{name}").items()}


def same(a, b, eps):
    "Whether two leaves are the same, floats up to `eps`."
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y, eps) for x, y in zip(a, b))
    if isinstance(a, float) and isinstance(b, (int, float)): return math.isclose(a, b, rel_tol=eps, abs_tol=eps)
    return a == b


def differences(part, folder=None):
    "Key -> what was recorded and what is, of one part."
    was = json.loads((GOLDEN/f"{part}.json").read_text(encoding="utf-8"))
    now = tiny(folder) if part == "tiny" else PARTS[part]()
    if now is None: return print("published: ../shared/data/published is absent, so nothing is compared") or {}
    if part == "published" and "built" not in now: was.pop("built", None)
    if part == "tiny" and was.pop("machine") != now.pop("machine"):
        print("tiny: recorded on another kind of machine, so weights, answers and numbers are not compared")
        for key in OF_MACHINE: was.pop(key), now.pop(key)
    was, now = flat(was, part), flat(json.loads(json.dumps(now)), part)
    pairs = {k: (was.get(k, "(absent)"), now.get(k, "(absent)")) for k in sorted({*was, *now})}
    eps = 5e-3 if part == "training" else 2e-6
    return {k: (old, new) for k, (old, new) in pairs.items() if not same(old, new, eps)}


def shown(was, now):
    "Two values side by side; of lists what the one has and the other has not."
    if isinstance(was, list) and isinstance(now, list):
        was, now = [v for v in was if v not in now] or was, [v for v in now if v not in was] or now
    cut = lambda v: text if len(text := json.dumps(v, ensure_ascii=False)) < 600 else f"{text[:600]}..."
    return f"  was {cut(was)}\n  now {cut(now)}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["record", "compare"])
    p.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    p.add_argument("--but", nargs="*", default=[], metavar="PART", help="parts to leave out")
    p.add_argument("--tiny", type=Path, help="a folder of a tiny run that is there already")
    a = p.parse_args()
    parts = [n for n in a.parts or PARTS if n not in a.but]
    if a.what == "record":
        for n in parts:
            if (found := PARTS[n]()) is None: print(f"{n}: its files are absent; the record stays"); continue
            text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False)
            (GOLDEN/f"{n}.json").write_text(text + "\n", encoding="utf-8")
        return 0
    import yaml
    explained = yaml.safe_load((GOLDEN/"explained.yaml").read_text(encoding="utf-8")) or {}
    fits = lambda key, glob: key == glob or fnmatch.fnmatchcase(key, glob)
    why = lambda key: next((reason for glob, reason in explained.items() if fits(key, glob)), "")
    found = {k: v for n in parts for k, v in differences(n, a.tiny).items()}
    for key, pair in found.items():
        print(f"{f'explained ({why(key)})' if why(key) else 'DIFFERS'} {key}\n{shown(*pair)}")
    unexplained = [k for k in found if not why(k)]
    print(f"{len(found)} differences, {len(unexplained)} of them not explained")
    return bool(unexplained)


if __name__ == "__main__": sys.exit(main())
