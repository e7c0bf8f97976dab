"""A few random inputs, always the same, to each target of tests/fuzz.py; `make fuzz` feeds them for ten minutes each."""
import pytest
from fuzz import TARGETS, fuzz


@pytest.mark.parametrize("target", TARGETS)
def test_random_input_ends_with_a_result_or_one_sentence(target): assert fuzz(target, most=15 if target == "folders" else 40) >= 15


def test_what_breaks_a_target_is_found(monkeypatch):
    import generank.parsing as parsing
    monkeypatch.setattr(parsing, "_word", lambda word, names: 1 / 0)
    with pytest.raises(ZeroDivisionError): fuzz("parser", most=400)
