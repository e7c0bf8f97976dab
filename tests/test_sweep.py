"""`generank run --sweep` with miniature stages: every combination once, what is shared done once, the same table however many run side by side."""
import json
import os
import signal

import nbformat
import pandas as pd
import pytest

import forked
from test_run import PLANTED, STAGES, Mini, wait_for

GRPO = "for a in arms: call(a); write(f'models/{a}/adapter_model.safetensors', f\"{a} {config['seed']} {[x['reward'] for x in config['arms'] if x['name'] == a]}\"); write(f'models/{a}/training.json', '{}')"
INFERENCE = "call('inference')\nfor a in arms: f = run_dir/f'models/{a}/adapter_model.safetensors'; write(f'responses/{a}.parquet', f.read_text() if f.exists() else a)"
EVALUATION = """
call('evaluation')
answers = (run_dir/'responses'/'grpo-rank.parquet').read_text()
entry = lambda name, value: {'name': name, 'kind': 'arm', 'n': 6, 'mrr': value, 'mrr_ci_low': value - 0.1, 'mrr_ci_high': value + 0.1, 'n_clusters': 3, 'mrr_completed': value, 'top_k': {'1': {'accuracy': value / 2, 'ci_low': 0.0, 'ci_high': 1.0}}, 'format_error_rate': 0.0}
runs = [entry('warm-start', 0.2), entry('grpo-rank', 0.3 + int(answers.split()[1]) / 10 + ('rank' in answers.split()[2]) / 100)]
write('evaluation/metrics.json', json.dumps({'primary': 'mrr', 'split': 'test', 'runs': runs, 'training': {'grpo-rank': {'per_100_steps': 1.5, 'ci_low': 0.5, 'ci_high': 2.5}}}))
"""
FOLDED = {   # the real stages of data and evaluation; grpo-rank names each causal gene, the other arms name none
    "13_data": "from generank.data import run_stage\nrun_stage(run_dir, config)", "34_grpo": GRPO, "55_evaluation": "from generank.evaluation import run_stage\nrun_stage(run_dir, config)",
    "42_inference": """
import pandas as pd
loci = pd.read_parquet(run_dir/'data/loci.parquet').query("split == 'test'")
(run_dir/'responses').mkdir(exist_ok=True)
for a in arms:
    said = [f"<genes> [{g * (a == 'grpo-rank')}] </genes>" for g in loci.causal_gene]
    loci[['locus_id', 'region_id', 'trait', 'candidates', 'causal_gene']].assign(sample=0, completion=said).to_parquet(run_dir/f'responses/{a}.parquet')
"""}
SWEEP = ("--profile", "tiny", "--out", "runs/grid", "--sweep", "seed=1,2", "--sweep", "arms.grpo-rank.reward=rank,binary")


def written(folder, **bodies):
    "Miniature stages in a folder, some with other bodies."
    cell = nbformat.v4.new_code_cell
    from test_run import BODY, PARAMETERS
    for name, body in {**STAGES, **bodies}.items():
        cells = [cell(PARAMETERS, metadata={"tags": ["parameters"]}), cell(BODY), cell(body)]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder/f"{name}.ipynb")
    return folder


@pytest.fixture(scope="session")
def stages(tmp_path_factory): return written(tmp_path_factory.mktemp("sweep-nbs"), **{"34_grpo": GRPO, "42_inference": INFERENCE, "55_evaluation": EVALUATION})


@pytest.fixture
def mini(tmp_path, stages): return Mini(tmp_path, stages)


@pytest.fixture(scope="session")
def grid(tmp_path_factory, stages):
    "A finished sweep of four runs, one after another: (its miniature project, what the command printed, its calls, its table)."
    mini = Mini(tmp_path_factory.mktemp("grid"), stages)
    done = mini.run(*SWEEP, first=forked.runs)
    assert done.returncode == 0, done.stderr
    return mini, done.stdout, mini.calls(), pd.read_csv(mini.folder/"runs/grid/sweep.csv")


def same(table, of): pd.testing.assert_frame_equal(table.drop(columns="train_minutes"), of.drop(columns="train_minutes").reset_index(drop=True))


def test_a_sweep_gives_the_same_table_side_by_side_and_shares_its_work(grid, mini, tmp_path):
    _, printed, calls, rows = grid
    assert {c: calls.count(c) for c in sorted(set(calls))} == {"data": 1, "evaluation": 4, "grpo-rank": 4, "inference": 4, "report": 4, "warm-start": 2}
    assert len(rows) == 8 and set(rows.seed) == {1, 2} and rows.run.iloc[0] == "seed-1_reward-rank"
    best = rows.loc[rows.mrr.idxmax()]
    assert (best.seed, best["arms.grpo-rank.reward"], round(best.mrr, 2), round(best.ci_low, 2), round(best.top_1, 3), best.slope, best.slope_ci_low) == (2, "rank", 0.51, 0.41, 0.255, 1.5, 0.5)
    assert "seed-2_reward-binary" in printed

    two = mini.run("--profile", "tiny", "--out", "runs/pair", "--sweep", "seed=1", *SWEEP[6:], "--jobs", "2", first=forked.runs)
    assert two.returncode == 0, two.stderr
    assert {c: mini.calls().count(c) for c in sorted(set(mini.calls()))} == {"data": 1, "evaluation": 2, "grpo-rank": 2, "inference": 2, "report": 2, "warm-start": 1}, "what is shared was done twice"
    same(pd.read_csv(tmp_path/"runs/pair/sweep.csv"), rows[rows.seed == 1])


def test_a_finished_sweep_is_not_repeated(grid):
    mini, _, _, rows = grid
    table = (mini.folder/"runs/grid/sweep.csv").read_text()
    again = mini.run(*SWEEP)
    assert again.returncode == 2 and "already holds a sweep: add --resume" in again.stderr
    resumed = mini.run(*SWEEP, "--resume", "--json")
    assert (resumed.returncode, mini.calls()) == (0, []) and (mini.folder/"runs/grid/sweep.csv").read_text() == table
    told = json.loads(resumed.stdout)
    assert told["table"] == "runs/grid/sweep.csv" and [(r["run"], round(r["mrr"], 9)) for r in told["rows"]] == list(zip(rows.run, rows.mrr.round(9)))


def test_a_sweep_goes_on_past_a_failed_run_and_after_a_stop(mini, tmp_path):
    failed = mini.run(*SWEEP[:6], "--jobs", "2", first=forked.runs, FAIL="grpo-rank")
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-2].startswith("Error: 2 of 2 runs failed, the first (seed-") and "matrix is singular" in failed.stderr
    assert failed.stderr.endswith("Continue with the same command and --resume.\n")
    process, kernel = mini.start(*SWEEP[:6], "--resume", "--jobs", "2", SLOW="grpo-rank")
    os.killpg(process.pid, signal.SIGINT)   # as Ctrl-C in a terminal: the runs get it too
    out, err = process.communicate(timeout=90)
    assert not mini.left() and (tmp_path/"calls.txt.saved").exists(), "each kernel is let save"
    assert process.returncode == 1 and err.endswith("Stopped; what is finished is kept.\nContinue with the same command and --resume.\n"), err
    process, kernel = mini.start(*SWEEP[:6], "--resume", SLOW="grpo-rank")
    process.kill()
    process.communicate(timeout=90)
    wait_for(lambda: not mini.left(), seconds=60)
    done = mini.run(*SWEEP[:6], "--resume", "--jobs", "2", first=forked.runs)
    assert done.returncode == 0 and "warm-start" not in mini.calls(), done.stderr


@pytest.mark.parametrize("arguments, said", [
    (("--sweep", "seed=1,x"), "seed"),
    (("--sweep", "grpo.trl.learning_rat=1"), "did you mean"),
    (("--sweep", "seed"), "is not a sweep"),
    (("--sweep", "seed=1", "--sweep", "seed=2"), "given twice"),
    (("--sweep", "seed=1,x", "--dry-run"), "seed"),
    (("--sweep", "seed=1,2", "--reuse", "."), "leave --reuse out"),
    (("--jobs", "2"), "add --sweep"),
    (("--sweep", "seed=1", "--executor", "slrm"), "did you mean 'slurm'?"),
    (("--sweep", "seed=1", "--slurm", "partition=gpu"), "add --executor slurm"),
    (("--sweep", "seed=1", "--executor", "submitit", "--slurm", "partitio=gpu"), "did you mean 'partition'?"),
])
def test_a_wrong_sweep_is_refused_before_anything_runs(mini, tmp_path, arguments, said):
    wrong = mini.run("--profile", "tiny", "--out", "runs/grid", *arguments)
    assert wrong.returncode == 2 and said in wrong.stderr and wrong.stderr.count("\n") == 1, wrong.stderr
    assert not (tmp_path/"runs").exists() and mini.calls() == []


def test_three_folds_are_one_command_and_one_result(tmp_path, tmp_path_factory):
    "Cross-fitting: every region is held out once, and the pooled evaluation is printed below the table of the folds."
    mini = Mini(tmp_path, written(tmp_path_factory.mktemp("fold-nbs"), **FOLDED))
    done = mini.run("--profile", "tiny", "-p", "perturbations=[]", "--sweep", "data.fold=1,2,3", "--out", "runs/folds", "--jobs", "3", first=forked.runs)
    assert done.returncode == 0, done.stderr
    tested = pd.concat(pd.read_parquet(tmp_path/f"runs/folds/fold-{i}/data/loci.parquet").query("split == 'test'") for i in (1, 2, 3))
    found = json.loads((tmp_path/"runs/folds/folds.json").read_text())
    assert len(tested) == tested.region_id.nunique() == 18 and {r["n"] for r in found["runs"]} == {18}
    pair = found["primary"][0]
    assert (pair["a"], pair["b"], pair["metric"]) == ("grpo-rank", "warm-start", "mrr_over_chance") and pair["ci_low"] > 0.5
    folds, runs, pairs = done.stdout.split("\n\n")
    assert len(folds.splitlines()) == 10 and "\ngrpo-rank\t18\t18\t" in runs and pairs.splitlines()[1].startswith("grpo-rank\twarm-start\tmrr_over_chance, region mean\t+")


def test_the_plan_of_a_sweep(mini):
    shown = mini.run(*SWEEP, "--dry-run")
    assert shown.returncode == 0 and len(shown.stdout.splitlines()) == 5 and "-p seed=2 -p arms.grpo-rank.reward=\"binary\"" in shown.stdout


def test_a_sweep_through_submitit_gives_the_same_table(grid, mini, tmp_path):
    there = mini.run("--profile", "tiny", "--sweep", "seed=1", *SWEEP[6:], "--out", "runs/there", "--executor", "submitit")
    assert there.returncode == 0, there.stderr
    assert mini.calls().count("grpo-rank") == 2 and mini.calls().count("data") == 1, "what is shared was done twice"
    same(pd.read_csv(tmp_path/"runs/there/sweep.csv"), grid[3][grid[3].seed == 1])
    for path in (p for p in (tmp_path/"runs"/"there").rglob("*") if p.is_file()): assert PLANTED.encode() not in path.read_bytes(), f"a secret stands in {path}"

    failed = mini.run("--profile", "tiny", "--sweep", "seed=1", "--out", "runs/wrong", "--executor", "submitit", FAIL="warm-start")
    assert failed.returncode == 1 and "1 of 1 runs failed" in failed.stderr and "matrix is singular" in failed.stderr, failed.stderr


def test_a_sweep_in_a_queue_is_stopped_with_its_jobs(mini, tmp_path):
    process, kernel = mini.start("--profile", "tiny", "--sweep", "seed=1", "--out", "runs/queue", "--executor", "submitit", SLOW="grpo-rank")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 1 and "Continue with the same command and --resume." in err, err
    wait_for(lambda: not mini.left(), seconds=60)
