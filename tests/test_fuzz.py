"""A few random inputs, always the same, to each target of tests/fuzz.py; `make fuzz` feeds them for ten minutes each."""
import pytest
from fuzz import TARGETS, fuzz, read_folder, recorded_run

from generank.core import UserError
from generank.parsing import parse_answer
from generank.profile import resolve


@pytest.mark.parametrize("target", TARGETS)
def test_random_input_ends_with_a_result_or_one_sentence(target): assert fuzz(target, most=15 if target == "folders" else 40) >= 15


def test_what_breaks_a_target_is_found(monkeypatch):
    import generank.parsing as parsing
    monkeypatch.setattr(parsing, "_word", lambda word, names: 1 / 0)
    with pytest.raises(ZeroDivisionError): fuzz("parser", most=400)


FOUND = [("config.yaml", b"arms: [{name: []}]", "`arms.0.name` can't be []"),
         ("models/grpo-rank/checkpoints/checkpoint-2/complete.json", b"null", None), ("models/grpo-rank/metrics.jsonl", b"{\x80}", None), ("models/grpo-rank/metrics.jsonl", b"3\n", None),
         ("models/grpo-rank/adapter_config.json", b"null", "adapter_config.json holds no settings of an adapter"), ("sweep.yaml", b"", "sweep.yaml is no plan of a sweep"),
         ("data/loci.parquet", b"PAR1", "loci.parquet can't be read as parquet"), ("responses/grpo-rank.parquet", b"", "grpo-rank.parquet can't be read as parquet"),
         ("manifest.json", b'{"stages": {}, "seconds": "long", "cost": {"machine": "much"}}', None), ("manifest.json", b'{"stages": null}', "manifest.json is no manifest of a run")]


@pytest.mark.parametrize("name, content, words", FOUND)
def test_what_fuzzing_found_in_run_folders(name, content, words):
    refused = read_folder({**recorded_run(), name: content}, [name])
    assert any(words in r for r in refused) if words else not refused, refused


def test_what_fuzzing_found_in_answers_and_profiles():
    assert parse_answer("<GENES>[\x1f]&", None, "strict").genes == ()
    for wrong in ({"styles": {"\n": None}}, {"grpo": {"pilot": {"\n": None}}}):
        with pytest.raises(UserError) as told: resolve("tiny", wrong)
        assert "\\n" in str(told.value) and "\n" not in str(told.value)


def test_a_run_folder_as_it_should_be_is_read(): assert read_folder(recorded_run(), []) == []
