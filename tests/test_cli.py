"""The `generank` command as scripts meet it: exit codes, one line on standard error, output that can be piped, and a quick start."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import forked
from generank.data import run_stage
from generank.profile import resolve

GENERANK = str(Path(sys.executable).with_name("generank"))
PUBLISHED = Path(__file__).resolve().parents[2]/"shared"/"data"/"published"
GOLD = PUBLISHED.parent


def call(*arguments, **kwargs):
    return forked.run(*arguments, **kwargs)


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


def test_what_is_read_can_be_chosen(tmp_path):
    facts = lambda *a: dict(line.split("\t")[:2] for line in call("data", "describe", "--no-figures", *a, cwd=tmp_path).stdout.splitlines())
    assert int(facts("--confidence", "High", "--confidence", "Medium", "--max-candidates", 12)["loci"]) < int(facts()["loci"])
    (tmp_path/"variants.csv").write_text("trait,chrom,pos,causal_gene\nLDL cholesterol,19,11089362,LDLR\nLDL cholesterol,1,55039974,PCSK9\n")
    mean = lambda *a: float(facts("variants.csv", *a)["candidates, mean"])
    assert mean("--window", 200000) < mean() < mean("--biotype", "protein_coding", "--biotype", "other")
    checked = call("data", "check", "variants.csv", "--window", 200000, "--min-candidates", 3, cwd=tmp_path)
    assert checked.returncode == 0 and "fault" in checked.stdout
    wrong = call("data", "check", "variants.csv", "--biotype", "protein_codin", cwd=tmp_path)
    assert (wrong.returncode, wrong.stderr) == (2, "Error: Unknown biotype 'protein_codin': did you mean 'protein_coding'?\n")


def test_a_profile_names_pairs_of_files_a_window_and_biotypes(tmp_path, monkeypatch):
    places = {"LDLR": (19, 11089362), "PCSK9": (1, 55039974), "APOB": (2, 21001429), "SORT1": (1, 109310000), "HMGCR": (5, 75336000), "LPL": (8, 19939000)}
    (tmp_path/"loci.tsv").write_text("trait\tchrom\tpos\n" + "".join(f"LDL cholesterol\t{c}\t{p}\n" for c, p in places.values()))
    (tmp_path/"labels.tsv").write_text("symbol\n" + "".join(f"{g}\n" for g in places))
    monkeypatch.chdir(tmp_path)
    def candidates(out, *settings):
        "Mean number of candidates after the data stage with these settings."
        given = ["data.source={loci_files: [loci.tsv], label_files: [labels.tsv]}", "data.test=0.4", "data.validation=0.3", "data.limit={train: null, validation: null, test: null}", *settings]
        run_stage(out, resolve("tiny", given))
        return pd.read_parquet(tmp_path/out/"data"/"loci.parquet").candidates.map(len).mean()
    usual = candidates("usual")
    assert candidates("narrow", "data.window=200000") < usual < candidates("all", "data.biotypes=[protein_coding, other]")
    missing = call("run", "--profile", "tiny", "--out", "r", "-p", "data.source={loci_files: [loci.tsv], label_files: [gone.tsv]}", cwd=tmp_path)
    assert missing.returncode == 2 and "gone.tsv" in missing.stderr.splitlines()[-1]
    wrong = call("run", "--profile", "tiny", "--out", "s", "-p", "data.biotypes=[coding]", cwd=tmp_path)
    assert wrong.returncode == 2 and "data.biotypes" in wrong.stderr and wrong.stderr.count("\n") == 1


def test_output_can_be_piped():
    "The console script itself."
    facts = subprocess.run([GENERANK, "data", "describe", "--no-figures"], capture_output=True, text=True, timeout=100).stdout.splitlines()
    assert facts[0].split("\t") == ["fact", "all", "train", "validation", "test"]
    head = subprocess.run(f"{GENERANK} data describe --no-figures | head -1", shell=True, capture_output=True, text=True, timeout=60)
    assert head.stderr == "" and head.stdout.startswith("fact")


@pytest.mark.parametrize("arguments, keys", [
    (("run", "--profile", "tiny", "--dry-run", "--json"), {"run", "profile", "seed", "model", "changed", "plan", "forecast", "needs", "obstacles"}),
    (("run", "--profile", "a100", "--sweep", "seed=1,2", "--dry-run", "--json"), {"runs"}),
    (("data", "check", "loci.csv", "--json"), {"checks"}),
    (("data", "describe", "loci.csv", "--no-figures", "--json"), {"facts"}),
])
def test_scripts_get_one_json_object(arguments, keys, tmp_path):
    (tmp_path/"loci.csv").write_text('trait,candidates,causal_gene\nasthma,"IL4, IL13, RAD50",IL13\ngout,"ABCG2, PKD2, SPP1",ABCG2\nLDL,"LDLR, SMARCA4",LDLR\n')
    told = call(*arguments, cwd=tmp_path)
    assert told.returncode == 0 and set(json.loads(told.stdout)) == keys, told.stderr


def test_the_tables_that_were_built_are_told_to_scripts(tmp_path):
    if not (GOLD/"gold_standards").exists(): pytest.skip(f"`data build` takes the pinned files alone (their sha256 is checked); they are fetched or, for tests, lie in {GOLD.name}/ beside the clone, and are not here")
    told = call("data", "build", "--gold-standards", GOLD, "--out", "mine", "--json", cwd=tmp_path)
    built = json.loads(told.stdout)
    assert (told.returncode, built["folder"], built["card"]) == (0, "mine", json.loads((tmp_path/"mine"/"loci.json").read_text()))


def test_published_responses_come_out_as_published():
    if not PUBLISHED.exists(): pytest.skip("the published responses are not here")
    files = [PUBLISHED/f"{name}_results.csv" for name in ("grpo_8b", "grpo_8b_binary_reward")]
    result = call("evaluate", *files, "--json", "--cluster-by", "causal_gene", "--draws", "1000")
    assert result.returncode == 0, result.stderr
    scores = json.loads(result.stdout)
    assert [round(r["top_k"]["1"]["accuracy"], 3) for r in scores["runs"]] == [0.502, 0.495]
    assert {c["k"] for c in scores["comparisons"]} == {1, 3, 5, 7}


@pytest.mark.parametrize("words, known", [(("ru",), {"run", "runs"}), (("data", "de"), {"describe"}), (("run", "--prof"), {"--profile"})])
def test_the_shell_completes_commands_and_options(words, known):
    asked = {"_GENERANK_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(("generank", *words)), "COMP_CWORD": str(len(words))}
    assert set(call(env={**os.environ, **asked}).stdout.split()) == known


def test_the_doctor_tells_scripts(tmp_path):
    found = call("doctor", "--profile", "tiny", "--json", cwd=tmp_path, env={**os.environ, "WANDB_API_KEY": "planted0secret"})
    told = json.loads(found.stdout)
    assert found.returncode == 0 and told["ok"] and told["profiles"]["tiny"] == {"runs": True, "obstacles": []}
    assert "WANDB_API_KEY is set" in found.stdout and "planted0secret" not in found.stdout + found.stderr
    (tmp_path/"runs").write_text("a file")
    found = call("doctor", "--profile", "tiny", cwd=tmp_path)
    assert found.returncode == 1 and "disk\tfault\truns/ can't be written to" in found.stdout
