"""Nothing that the project does has changed but what tests/golden/explained.yaml names; see scripts/golden.py."""
import pytest

import forked

PARTS = ["help", "json_keys", "profiles", "published", "recorded", "parser", "prompts", "split", "training", "statistics"]


def compare(*arguments):
    done = forked.run("compare", *arguments, entry="golden:main", timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_is_quick_is_as_it_was():
    said = compare(*PARTS)
    if "is absent" in said: pytest.skip(said.splitlines()[0])   # all other parts have been compared


def test_a_tiny_run_is_as_it_was(tiny_run): compare("tiny", "--tiny", tiny_run[0])
