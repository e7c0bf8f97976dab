"""How many answers a second one core reads and scores: python benchmarks/rewards.py [--answers 20000] [--repeats 5] [--save]

The answers are made here, each one another, in three kinds: `list` (the list alone), `reasoning` (about 300 words, then the
list) and `untidy` (numbered lines with bold symbols and notes). Every function sees the same answers in the
same process; the best of the repeats counts. The plain regex is the least that a reward could do: find the tags, split at
commas, look for the causal gene. It reads nothing of what is untidy. trl's accuracy reward compares mathematics: it sees the same
reasoning with a number in a box in place of the list, and fewer answers, since it takes milliseconds for one. It needs
math-verify, which is no part of this project's environment (pip install math-verify), and is left out without it."""
import argparse, os, platform, random, re, time

os.environ.setdefault("OMP_NUM_THREADS", "1")
from trl.import_utils import is_math_verify_available
from trl.rewards import accuracy_reward, get_repetition_penalty_reward, get_soft_overlong_punishment, think_format_reward

from _record import save
from generank.rewards import _parsed, binary_reward, format_reward, ndcg_reward, only_candidates_reward, rank_reward
from generank.prompts import format_answer

TARGET = 50_000  # answers a second, parse and rank reward together
WORDS = "the gene encodes a receptor that binds its ligand and may act in tissue of this trait by a known pathway".split()


def make_answers(kind:str, count:int, seed:int=0):
    "Answers of one kind with their loci: completions, causal genes, candidates, stand-ins for token ids; for mathematics a number boxed, and its solution."
    rng, said, gold, listed, boxed = random.Random(seed), [], [], [], []
    for i in range(count):
        if i % 8 == 0: candidates = [f"{rng.choice('ABCDEFGHKLMNPRST')}{rng.choice('ABCDEFGHKLMNPRST')}{rng.randrange(1000)}-{j}" for j in range(15)]  # a group of 8
        genes = rng.sample(candidates, 6)
        text = format_answer(genes)
        if kind == "reasoning": text = format_answer(genes, " ".join(rng.choices(WORDS, k=300)))
        if kind == "untidy": text = "<genes>\n" + "\n".join(f"{n}. **{g}** (near, {rng.choice(WORDS)})" for n, g in enumerate(genes, 1)) + "\n</genes>"
        boxed.append([{"role": "assistant", "content": text[:text.index("<genes>")] + f"\\boxed{{{rng.randrange(6)}}}"}])
        said.append([{"role": "assistant", "content": text}]); gold.append(rng.choice(candidates)); listed.append(candidates)
    return dict(completions=said, answer=gold, candidates=listed, boxed=boxed, solution=[f"${rng.randrange(6)}$" for _ in said],
                completion_ids=[[ord(c) for c in s[0]["content"][::4]] for s in said])


_GENES = re.compile(r"<genes>(.*?)</genes>", re.S)

def plain_regex(completions, answer, **unused):
    "The least a rank reward could do."
    scores = []
    for completion, gene in zip(completions, answer):
        found = _GENES.search(completion[0]["content"])
        listed = [g.strip() for g in found[1].strip().strip("[]").split(",")] if found else []
        scores.append(1 / (listed.index(gene) + 1) if gene in listed else 0.0)
    return scores


def accuracy(boxed, solution, **unused):
    "trl's accuracy reward, on answers of its own kind."
    return accuracy_reward(boxed, solution)


FUNCTIONS = {"generank rank": rank_reward, "generank binary": binary_reward, "generank ndcg": ndcg_reward, "generank format": format_reward,
             "generank only_candidates": only_candidates_reward, "plain regex": plain_regex, "trl think_format_reward": think_format_reward,
             "trl soft_overlong_punishment": get_soft_overlong_punishment(512, 128), "trl repetition_penalty": get_repetition_penalty_reward()}
SLOW = {"trl accuracy_reward": accuracy} if is_math_verify_available() else {}  # on every hundredth answer


def rate(function, columns, repeats:int)->float:
    "Answers a second, the best of `repeats`; nothing is remembered from one to the next."
    best = 0
    for _ in range(repeats):
        _parsed.cache_clear()
        began = time.process_time()
        values = function(**columns)
        best = max(best, len(values) / (time.process_time() - began))
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--answers", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--save", action="store_true", help="keep what was measured in results/speed/")
    options = parser.parse_args()
    data = {kind: make_answers(kind, options.answers) for kind in ("list", "reasoning", "untidy")}
    table = {name: {kind: rate(f, columns, options.repeats) for kind, columns in data.items()} for name, f in FUNCTIONS.items()}
    for name, f in SLOW.items(): table[name] = {kind: rate(f, {c: v[::100] for c, v in columns.items()}, 1) for kind, columns in data.items()}
    print(f"Answers a second on one core ({platform.machine()}, Python {platform.python_version()}), {options.answers} answers of a kind, best of {options.repeats}")
    print(f"{'':30}" + "".join(f"{kind:>12}" for kind in data))
    for name, row in table.items(): print(f"{name:30}" + "".join(f"{row[kind]:12,.0f}" for kind in data))
    if options.save: print(save("rewards", f"Answers a second on one core in processor time, {options.answers:,} answers of a kind, best of {options.repeats}: the list alone; some 300 words of reasoning, then the list; "
                                "numbered lines with bold symbols and notes. The plain regex reads nothing of the last.", ["Function", *data], [[name, *(f"{row[kind]:,.0f}" for kind in data)] for name, row in table.items()]))
    slow = [kind for kind in data if table["generank rank"][kind] < TARGET]
    print(f"Target for generank rank: {TARGET:,}. " + (f"Missed on: {', '.join(slow)}." if slow else "Reached on every kind."))


if __name__ == "__main__": main()
