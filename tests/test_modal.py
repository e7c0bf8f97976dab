"""What a container of Modal's does, done here: a run that is continued, and one that fails."""
import pytest

from generank import sweeps
from generank.pipeline import summary
from generank.sweeps import points
from test_run import ALL, PLANTED, Mini, notebooks  # noqa: F401


@pytest.fixture
def place(tmp_path, notebooks, monkeypatch):
    "The volume's folder and the calls of the miniature stages in it."
    mini = Mini(tmp_path, notebooks)
    for name, value in {"GENERANK_PLACE": str(tmp_path), "GENERANK_NBS": str(notebooks), "CALLS": str(mini.calls_file), "HF_TOKEN": PLANTED}.items(): monkeypatch.setenv(name, value)
    mini.calls_file.write_text("")
    return mini


def test_a_container_does_what_is_left_of_a_run(place, monkeypatch):
    arguments = sweeps.run_arguments("cloud", sweeps.settings("tiny", ["seed=3"], price=3600))
    monkeypatch.setenv("FAIL", "grpo-rank")
    with pytest.raises(RuntimeError, match="generank run --out runs/cloud --resume --reuse runs --profile tiny .* ended with exit code 1"): sweeps.command(*arguments)
    assert place.calls() == ALL[:3]
    monkeypatch.delenv("FAIL")
    done = summary(place.folder/sweeps.command(*arguments))
    assert (done["seed"], done["state"], done["currency"]) == (3, "done", "USD")
    assert place.calls() == ALL[:3] + ALL[2:], "what was finished was done again"
    assert abs(done["cost"] - done["seconds"]) < 0.1   # at 3600 an hour
    for path in (p for p in (place.folder/"runs").rglob("*") if p.is_file()): assert PLANTED.encode() not in path.read_bytes(), f"a secret stands in {path}"


def test_a_container_that_starts_later_copies_what_another_has_finished(place):
    class Here:
        "Modal's map, one container after another."
        @staticmethod
        def starmap(jobs, **how): return [sweeps.command(*job) for job in jobs]
    assert sweeps.map_sweep(Here, "grid", points(["arms.grpo-rank.reward=rank,binary"]), ["--profile", "tiny"]) == {}
    assert place.calls() == ALL + ["grpo-rank", "evaluation", "report"], "the warm start was trained twice"
