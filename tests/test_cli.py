"""The `generank` command as scripts meet it: exit codes, one line on standard error, output that can be piped, and a quick start."""
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

GENERANK = str(Path(sys.executable).with_name("generank"))
PUBLISHED = Path(__file__).resolve().parents[2]/"shared"/"data"/"published"


def call(*arguments, **kwargs):
    return subprocess.run([GENERANK, *map(str, arguments)], capture_output=True, text=True, timeout=100, **kwargs)


def test_help_starts_fast():
    def processor_seconds():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert call("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert min(processor_seconds() for _ in range(3)) < 0.5


@pytest.mark.parametrize("arguments, message", [
    (["run", "--profile", "lapto"], "Unknown profile 'lapto': did you mean 'laptop'?"),
    (["run", "--profile", "nowhere/mine.yaml"], "The profile file nowhere/mine.yaml does not exist."),
    (["run", "--profile", "tiny", "-p", "evaluation.drawz=5"], "Unknown parameter of `evaluation` 'drawz': did you mean 'draws'?"),
    (["run", "--profile", "tiny", "-p", "grpo.lora.rr=5"], "Unknown setting of `grpo.lora` (it goes to LoraConfig) 'rr'"),
    (["run", "--profile", "tiny", "-p", "seed=one"], "`seed` can't be 'one'"),
    (["run", "--profile", "tiny", "-p", "seed"], "write it as -p stage.param=value"),
    (["run", "--profile", "tiny", "--resume", "--clean"], "give one of them"),
    (["data", "check", "none.csv"], "none.csv"),
    (["evaluate", "none.parquet"], "none.parquet"),
    (["report", "none"], "none is not a run folder"),
    (["run", "--outt", "x"], "No such option: --outt"),
])
def test_bad_input_is_one_sentence(arguments, message, tmp_path):
    result = call(*arguments, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr and result.stderr.count("\n") == 1 and result.stderr.startswith("Error: ")
    assert not list(tmp_path.iterdir())


def test_a_broken_locus_is_named_with_its_line(tmp_path):
    (tmp_path/"loci.csv").write_text('trait,candidates,causal_gene\nasthma,"IL4, IL13, RAD50",IL13\ngout,"ABCG2, PKD2",SLC2A9\n')
    result = call("data", "check", "loci.csv", cwd=tmp_path)
    assert result.returncode == 2 and "loci.csv, line 3" in result.stderr and "SLC2A9 is not one of its 2 candidates" in result.stderr
    run = call("run", "--profile", "tiny", "--out", "r", "-p", "data.source=loci.csv", cwd=tmp_path)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.splitlines()[-1].startswith("Error: loci.csv, line 3") and "Traceback" not in run.stderr


def test_output_can_be_piped():
    facts = call("data", "describe", "--no-figures").stdout.splitlines()
    assert facts[0].split("\t") == ["fact", "all", "train", "validation", "test"]
    head = subprocess.run(f"{GENERANK} data describe --no-figures | head -1", shell=True, capture_output=True, text=True, timeout=60)
    assert head.stderr == "" and head.stdout.startswith("fact")


def test_published_responses_come_out_as_published():
    if not PUBLISHED.exists(): pytest.skip("the published responses are not here")
    files = [PUBLISHED/f"{name}_results.csv" for name in ("grpo_8b", "grpo_8b_binary_reward")]
    result = call("evaluate", *files, "--json", "--cluster-by", "causal_gene", "--draws", "200")
    assert result.returncode == 0, result.stderr
    scores = json.loads(result.stdout)
    assert [round(r["top_k"]["1"]["accuracy"], 3) for r in scores["runs"]] == [0.502, 0.495]
    assert {c["k"] for c in scores["comparisons"]} == {1, 3, 5, 7}
