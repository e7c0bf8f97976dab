"""A fault of each kind at a random point of a run whose stages only write; the long suite, and the real stages, are `make faults`."""
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DRIVER = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import faults
from generank import checkpoints
careful, careless, again = [], [], []
runs = faults.stub(2, 1, Path(sys.argv[2])/"runs", careful.append)
faults.stub(2, 1, None, again.append, runs=runs, done={(r["stage"], r["number"]) for r in careful[:-1]})
checkpoints.is_whole = lambda folder: True   # no seal is looked at
runs.folder = runs.folder/"careless"
runs.folder.mkdir()
while len(careless) < 12 and not any(r["lost"] for r in careless):
    faults.stub(1, len(careless), None, careless.append, ["grpo/grpo-rank"], ["checkpoint"], runs)
print(json.dumps([careful, careless, again]))
"""


def test_no_fault_loses_or_changes_a_byte_and_a_loss_would_be_seen(tmp_path):
    """Two faults in each of six executions: each ends as it must, in one sentence where it fails, and the same command then makes the same bytes.

    Where a checkpoint's seal is not looked at, damage to a checkpoint does change them: the suite can fail."""
    done = subprocess.run([sys.executable, "-c", DRIVER, HERE, tmp_path], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    careful, careless, again = json.loads(done.stdout.splitlines()[-1])
    assert [r for r in careful if r["lost"]] == []
    assert (len(careful), len({r["fault"] for r in careful}), len({r["stage"] for r in careful})) == (12, 11, 6)
    assert {r["code"] for r in careful} == {-9, 0, 1} and any(r["damaged"] for r in careful)
    place = lambda r: (r["stage"], r["number"], r["fault"], r["point"])
    assert [*map(place, again)] == [place(careful[-1])], "gone on with, the suite does what was left, the same way"
    assert careless[-1]["lost"], "none of twelve damaged checkpoints was noticed"
