"""Properties of the parser and the rewards that hold for every answer, and not only for the table in 21_parsing.ipynb."""
import inspect, pickle

import pytest
from hypothesis import example, given, settings, strategies as st

from generank.core import UserError
from generank.data import load_loci
from generank.parsing import PROBLEMS, parse_answer
from generank.prompts import format_answer
from generank.rewards import REWARDS, Reward, check_gold, rank_reward, reward_functions

CANDIDATES = ["A1", "B2", "C3", "HLA-B", "C9orf7", "T"]
WRONG = ["Z9", "GENE1", "ENSG00000012345", "HLA-C", "Akirin"]
symbols = st.from_regex(r"[A-Z][A-Z0-9]{1,7}(-[A-Z0-9]{1,4})?", fullmatch=True)
# text as a broken model writes it: pieces of answers in any order, and whatever else
pieces = st.sampled_from(["<genes>", "</genes>", "<GENES >", "<reasoning>", "</reasoning>", "<", "</gen", "[", "]", "{", "(", ")",
                          ",", ", ", ";", " > ", "->", "\n", "- ", "1. ", "2) ", "**", "`", "|", " and ", "none", "Note: ", "so we",
                          "\u200b", "\x00", "é", "١. ", *CANDIDATES, *WRONG])
messy = st.lists(pieces | st.text(max_size=6), max_size=40).map("".join)
lists_of_genes = st.lists(st.sampled_from(CANDIDATES + WRONG), max_size=12).map(format_answer)
answers = messy | messy.map(lambda t: f"<genes>{t}</genes>") | st.text(max_size=200) | lists_of_genes
many = settings(max_examples=250, deadline=None)


def correct(name, texts, gene="B2"):
    return REWARDS[name](texts, answer=[gene] * len(texts), candidates=[CANDIDATES] * len(texts))


@many
@given(answers, st.sampled_from([None, CANDIDATES, []]), st.sampled_from(["strict", "lenient"]))
@example("<genes>" + "(" * 500, CANDIDATES, "strict")
def test_no_text_raises(text, candidates, mode):
    answer = parse_answer(text, candidates, mode)
    assert len(set(answer.genes)) == len(answer.genes) and all(g.strip() == g != "" for g in answer.genes)
    assert set(answer.problems) <= set(PROBLEMS) and len(set(answer.problems)) == len(answer.problems)
    assert ("no_tag" in answer.problems) <= (not answer.genes) or mode == "lenient"
    if mode == "strict" and candidates is not None: assert ("not_candidates" in answer.problems) == bool(set(answer.genes) - set(candidates))


@pytest.mark.parametrize("thing", [None, 5, 2.5, [], b"<genes> [A1] </genes>"])
def test_what_is_no_text_has_no_list(thing): assert parse_answer(thing).genes == () and parse_answer(thing).problems == ("no_tag",)


@many
@given(st.lists(symbols, min_size=1, max_size=25, unique=True), st.sampled_from(["", "why", "IL13 > RAD50, [see above]"]), st.booleans())
def test_parsing_what_we_format(genes, reasoning, known):
    answer = parse_answer(format_answer(genes, reasoning), genes if known else None)
    assert (answer.genes, answer.reasoning, answer.problems) == (tuple(genes), reasoning, ())


STYLES = {
    "numbers": lambda g: "\n".join(f"{i}. {x}" for i, x in enumerate(g, 1)), "one line": lambda g: " ".join(f"{i}) {x}" for i, x in enumerate(g, 1)),
    "bullets": lambda g: "\n".join(f"- **{x}**: near" for x in g), "chain": " > ".join, "arrows": " -> ".join, "lines": "\n".join, "words": " ".join,
    "quotes": lambda g: ", ".join(f"'{x}'" for x in g), "braces": lambda g: ", ".join(f"{{{x}}}" for x in g), "json": lambda g: str(list(g)).replace("'", '"'),
    "notes": lambda g: "[" + ", ".join(f"{x} (a kinase, near)" for x in g) + "]", "scores": lambda g: ", ".join(f"{x}: 0.{i}" for i, x in enumerate(g)),
    "table": lambda g: "| Rank | Gene |\n|---|---|\n" + "\n".join(f"| {i} | {x} |" for i, x in enumerate(g, 1)), "and": lambda g: ", ".join(g[:-1]) + (" and " if g[1:] else "") + g[-1],
}


@pytest.mark.parametrize("style", STYLES)
@settings(max_examples=60, deadline=None)
@given(genes=st.lists(st.sampled_from(CANDIDATES + WRONG[:4]), min_size=1, max_size=10, unique=True))
def test_every_style_reads_the_same(style, genes):
    assert parse_answer(f"<genes>\n{STYLES[style](genes)}\n</genes>", CANDIDATES).genes == tuple(genes)


@many
@given(answers, st.sampled_from(CANDIDATES))
def test_order_of_the_correctness_rewards(text, gene):
    values = {name: correct(name, [text], gene)[0] for name in ("binary", "rank", "ndcg", "top_k")}
    assert values["ndcg"] >= values["rank"] >= values["binary"] and values["top_k"] >= values["binary"]


@many
@given(st.lists(st.sampled_from(CANDIDATES + WRONG), min_size=1, max_size=8, unique=True), st.sampled_from(WRONG + CANDIDATES), st.data())
def test_a_wrong_gene_after_the_causal_one_changes_nothing(genes, wrong, data):
    gene = data.draw(st.sampled_from(genes))
    place = data.draw(st.integers(genes.index(gene) + 1, len(genes)))
    if wrong == gene: return
    for style in (format_answer, lambda g: f"<genes>\n{STYLES['numbers'](g)}\n</genes>"):
        assert correct("rank", [style(genes)], gene) == correct("rank", [style([*genes[:place], wrong, *genes[place:]])], gene)


@many
@given(st.lists(answers, min_size=1, max_size=4), st.integers(0, 5), st.integers(0, 600))
def test_all_rewards_lie_between_0_and_1(texts, seed, tokens):
    columns = dict(prompts=[""] * len(texts), answer=["B2"] * len(texts), candidates=[CANDIDATES] * len(texts), locus_id=["L1"] * len(texts), completion_ids=[[0] * tokens] * len(texts))
    for name, reward in REWARDS.items():
        extra = {"seed": seed} if "seed" in inspect.signature(reward).parameters else {}
        values = reward(completions=[[{"role": "assistant", "content": t}] for t in texts], **columns, **extra)
        assert len(values) == len(texts) and all(type(v) is float and 0 <= v <= 1 for v in values), name


def test_rewards_pickle_under_their_names():
    for name, reward in REWARDS.items():
        assert pickle.loads(pickle.dumps(reward)) is reward and reward.__name__ == f"{name}_reward" and reward.__doc__
    assert len({f.__name__ for f in REWARDS.values()}) == len(REWARDS)
    functions, _ = reward_functions({"top_k": {"weight": 1, "k": 5}, "random": 0.1}, seed=4)
    assert pickle.loads(pickle.dumps(functions)) == functions and [type(f) for f in functions] == [Reward, Reward]


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda inner: st.dictionaries(st.sampled_from(["rank", "top_k", "k", "weight", "x"]), inner, max_size=3), max_leaves=4))
def test_a_wrong_reward_is_one_clear_sentence(spec):
    try: functions, weights = reward_functions(spec)
    except UserError as e: assert "\n" not in str(e)
    else: assert len(functions) == len(weights) > 0 and max(weights) > 0 <= min(weights)


def test_gold_check_of_every_bundled_locus():
    loci = [row for split in load_loci().values() for row in split]
    assert check_gold(loci) == len(loci) > 300
    broken = {**loci[0], "candidates": [*loci[0]["candidates"], "two, names"], "causal_gene": "two, names"}
    with pytest.raises(UserError, match=f"Locus {loci[0]['locus_id']} is not scorable"): check_gold([*loci[:3], broken])


def test_shuffled_labels_are_not_the_truth():
    loci = list(load_loci()["train"])
    right, ids, candidates = ([format_answer([r["causal_gene"]]) for r in loci], [r["locus_id"] for r in loci],
                              [r["candidates"] for r in loci])
    earned = REWARDS["shuffled_labels"](right, candidates, ids)
    assert abs(sum(earned) / len(loci) - sum(1 / len(c) for c in candidates) / len(loci)) < 0.05
    turned = REWARDS["shuffled_labels"](right, [c[::-1] for c in candidates], ids)
    assert earned == turned, "the order of the candidates must not change a label"
