"""The tour as a reader runs it, with the reward edited in its cell: the edited reward rises on the loci that it trains on."""
import json
from pathlib import Path

import nbformat

import forked

TOUR = Path(__file__).resolve().parents[1]/"nbs"/"00_tour.ipynb"
EDITED = '''
def my_reward(completions, answer, candidates, **kwargs):
    "Share of the listed symbols that are candidates of the locus."
    rewards = []
    for text, known in zip(answer_texts(completions), candidates):
        genes = parse_answer(text, known).genes
        rewards.append(sum(g in known for g in genes) / max(1, len(genes)))
    return rewards
'''
FACTS = '''
import json
table = result.unstack("when")["reward"].to_dict("index")
logged = pd.read_json(trained/"metrics.jsonl", lines=True).filter(like="rewards/my_reward/mean")
Path("facts.json").write_text(json.dumps({"means": table, "steps": len(logged.dropna())}))
'''


def test_an_edited_reward_rises(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    nb = nbformat.read(TOUR, as_version=4)
    cell, = [c for c in nb.cells if c.cell_type == "code" and c.source.startswith("def my_reward(")]
    cell.source = EDITED
    nb.cells.append(nbformat.v4.new_code_cell(FACTS))
    nbformat.write(nb, tmp_path/"tour.ipynb")
    sizes = dict(training_loci=3, held_out_loci=1, steps=3, loci_per_step=2, learning_rate=2e-3)
    asked = [word for name, value in sizes.items() for word in ("-p", name, value)]
    done = forked.run("tour.ipynb", "executed.ipynb", *asked, "--no-progress-bar", entry="papermill.__main__:papermill", cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    facts = json.loads((tmp_path/"facts.json").read_text())
    assert facts["steps"] == sizes["steps"]
    trained = facts["means"]["training loci"]
    assert trained["after"] > trained["before"] + 0.05, facts
