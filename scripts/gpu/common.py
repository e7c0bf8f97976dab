"""What every part shares: its arguments, its clock, and the JSON that it leaves behind, whatever happens."""
import argparse
import logging
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import traceback
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from generank.core import UserError, read_json, write_json  # noqa: E402
from generank.execution import git_state, hardware, now, scrub  # noqa: E402

log = logging.getLogger("gpu")
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "numpy", "pandas", "vllm", "unsloth", "bitsandbytes")


class OutOfTime(Exception):
    "The part has used its seconds; what is done is kept."


def step_floor(shape:dict, answers:int, groups:int, prompt_tokens:float, answer_tokens:float, copy:float, matrix:float, reference:bool=False, width:int=2)->dict[str, float]:
    """The least seconds of a GRPO step with LoRA, `generate` and `train`: the larger of bytes over bandwidth and operations over rate, prompts worked on once a group.

    `shape` is a `model_shape`, `copy` bytes a second (read and written together), `matrix` floating-point operations a second, `reference` whether a KL
    penalty asks the model before training as well, `width` bytes of a number."""
    weights, values = shape["parameters"] * width, 2 * shape["layers"] * shape["kv_heads"] * shape["head_size"] * width
    read = answer_tokens * weights + values * answer_tokens * (groups * prompt_tokens + answers * max(0, answer_tokens - 1) / 2)
    tokens = groups * prompt_tokens + answers * answer_tokens
    return {"generate": max(read / copy, 2 * shape["parameters"] * tokens / matrix), "train": 2 * shape["parameters"] * tokens * (3 if reference else 2) / matrix}


def model_shape(model)->dict:
    "What a transformers causal language model, with or without LoRA, has to multiply and to keep; its embedding table is looked up and not multiplied."
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    c, table = base.config, base.get_input_embeddings().weight.numel()
    frozen = sum(p.numel() for n, p in base.named_parameters() if "lora_" not in n)
    return {"parameters": frozen - (0 if c.tie_word_embeddings else table), "layers": c.num_hidden_layers, "kv_heads": c.num_key_value_heads,
            "head_size": getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads}


def work()->Path:
    "Where things are kept from call to call, as long as the machine lasts."
    return Path(os.environ.get("GENERANK_GPU_WORK") or "/tmp/generank-gpu")


def versions()->dict[str, str]:
    "The packages that are there, of those that matter here."
    found = {}
    for name in PACKAGES:
        try: found[name] = metadata.version(name)
        except metadata.PackageNotFoundError: pass
    return {**found, "python": platform.python_version()}


def commit()->dict|None:
    "The commit that runs: git's, or where the copy has no history the one that `carry pack` noted."
    noted = work()/"parts"/"index.json"
    return git_state() or (read_json(noted).get("commit") if noted.exists() else None)


def arguments(part:str, about:str)->argparse.ArgumentParser:
    "The options of every part."
    parser = argparse.ArgumentParser(prog=f"scripts/gpu_check.sh {part}", description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT") or "runs/gpu"), help="folder of the JSON, the log and the files to take home")
    parser.add_argument("--seconds", type=float, default=540, help="the part stops by itself after so many seconds; called again it goes on")
    parser.add_argument("--miniature", action="store_true", help="small enough for two processor cores; proves that the part works and measures nothing")
    return parser


class Part:
    "The JSON of one part: rows by name, written after each, so that a killed call loses at most the row under way; finished rows are not done again."
    def __init__(self, name:str, options):
        self.name, self.options, self.kept = name, options, work()/f"{name}{'-miniature' if options.miniature else ''}.json"
        before = read_json(self.kept) if self.kept.exists() else {}
        asked = {k: scrub(str(v)) for k, v in sorted(vars(options).items()) if k not in ("out", "seconds", "again")}
        same = before.get("options") == asked and not getattr(options, "again", False)
        self.rows, self.spent, self.began = before.get("rows", {}) if same else {}, before.get("seconds", 0) if same else 0, time.monotonic()
        self.head = {"part": name, "miniature": options.miniature, "options": asked, "began": before.get("began", now()) if same else now(), "device": hardware(), "packages": versions(), "commit": commit()}

    def left(self)->float: return self.options.seconds - (time.monotonic() - self.began)

    def save(self, status:str="under way", **more):
        self.head.update(status=status, ended=now(), seconds=round(self.spent + time.monotonic() - self.began, 1), **more)
        write_json(self.kept, {**self.head, "rows": self.rows})
        self.options.out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.kept, self.options.out/f"{self.name}.json")

    def row(self, name:str, make, *args, needed:float=0, **kwargs):
        "Make a row unless it is there; a failure is written down in words and the next row follows."
        if name in self.rows and "failed" not in self.rows[name]: return log.info("%s: done before", name)
        if self.left() < max(needed, 5): raise OutOfTime(f"{self.left():.0f} s are left and {name} needs {needed:.0f}")
        log.info("%s ...", name)
        began = time.monotonic()
        try: found = make(*args, **kwargs)
        except OutOfTime: raise
        except Exception as e:
            if not isinstance(e, UserError): traceback.print_exc()
            found = {"failed": scrub(f"{type(e).__name__}: {(str(e).strip().splitlines() or [''])[0][:500]}")}
        self.rows[name] = {**found, "took": round(time.monotonic() - began, 2)}
        log.info("%s: %s", name, {k: v for k, v in self.rows[name].items() if not isinstance(v, (dict, list))})
        self.save()

    def failures(self)->list[str]: return [n for n, r in self.rows.items() if "failed" in r or r.get("passed") is False]


@contextmanager
def clock(part:Part):
    "Stop the block when the part's seconds are used up, and leave the JSON in any case."
    def late(*_): raise OutOfTime(f"the {part.options.seconds:.0f} s of this call are used up")
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, max(part.left(), 0.1))
    status = "failed"
    try:
        part.save()
        yield
        status = "done"
    except OutOfTime as e:
        status = "stopped"
        log.warning("%s stops: %s. The same command goes on.", part.name, e)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        part.save(status)


def quiet():
    "Log lines with the time, and no bars."
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S", stream=sys.stderr, force=True)
    for name in ("httpx", "transformers", "trl", "accelerate"): logging.getLogger(name).setLevel(logging.WARNING)


def ended(part:Part)->int:
    "The exit code: 0 done, 1 something failed, 3 stopped by the clock."
    status, bad = part.head.get("status"), part.failures()
    print(f"{part.name}: {status}, {len(part.rows)} rows" + (f", failed: {', '.join(bad)}" if bad else ""))
    return 3 if status == "stopped" else 1 if bad or status == "failed" else 0


def call(main)->int:
    "Run a part's `main` as a command: a `UserError` is one line."
    try: return main(sys.argv[1:])
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2


def said(*command, **kwargs)->subprocess.CompletedProcess:
    "Run a command and keep what it says."
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, **kwargs)
