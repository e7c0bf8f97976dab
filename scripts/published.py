"""Make the committed table of the first published run's numbers from its pinned responses: `make published` (RESPONSES=FOLDER, else fetched)."""
import sys
import tempfile
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from generank.core import UserError, sha256_file, write_json, write_text  # noqa: E402
from generank.evaluation import MHC  # noqa: E402
from generank.genes import BUNDLED, load_genes  # noqa: E402
from generank.parsing import _check_pairing, _named  # noqa: E402
from generank.scoring import score_responses  # noqa: E402
from generank.sources import download  # noqa: E402

COMMIT = "a607634adda5f70e15e7ec3053a6a648a9488ae5"
ADDRESS = f"https://raw.githubusercontent.com/suyashss/rft_demo/{COMMIT}/results"
SHA256 = {
    "zero_shot_8b": "9c5ee930ea9cabc71a1c34252ae8979d0957e15102b5db17e98b329daa87e58e",
    "grpo_8b": "6775c9575b1545d457c336209dd52335f5f8531b590de25c14f77c58ed7b741c",
    "grpo_8b_binary_reward": "29b8d2159f25f3bc3fe5324e0a898abd0efb5174d0705170adc856504f2db56c",
    "zero_shot_70b": "488336626d70e698a913d35c8a1d19a170630932639860f87559577b0b9f59dd",
    "zero_shot_8b_short_prompt": "c12bf41976c905556e7a091a3f21f8b4f432cf5956945461c14a93f91099bf1c",
}


def numbers_of(
    folder,              # with the five files of responses
    genes=None,          # gene table; None: the bundled one
)->pd.DataFrame:         # locus, gene (a number), mhc, and for each run NAME_rank, NAME_listed, NAME_untagged
    "The per-locus numbers of the published responses, all whole."
    named = _named({name: Path(folder)/f"{name}_results.csv" for name in SHA256})
    _check_pairing(named)
    scores = {name: score_responses(frame, k=(1,), name=name) for name, frame in named.items()}
    causal = scores["grpo_8b"].causal_gene
    genes = load_genes() if genes is None else genes
    chrom, start, end = MHC
    inside = set(genes.symbol[(genes.chrom.astype(str) == chrom) & (genes.end >= start) & (genes.start <= end)])
    numbers = pd.DataFrame({"locus": causal.index, "gene": pd.factorize(causal)[0],
                            "mhc": causal.isin(inside).to_numpy(int)}, index=causal.index)
    for name, s in scores.items():
        numbers[[f"{name}_rank", f"{name}_listed", f"{name}_untagged"]] = s[["rank", "listed", "format_error"]].astype(int)
    return numbers.reset_index(drop=True)


def build_published(
    folder=None,     # with the published files; None: fetched from their pinned addresses
    out=BUNDLED,     # where `published.csv` and `published.json` go
)->Path:             # the table
    "Make the committed table from the pinned responses; files with another content are a `UserError`."
    with tempfile.TemporaryDirectory() as d:
        for name, sha256 in SHA256.items():
            if not folder: download(f"{ADDRESS}/{name}_results.csv", Path(d)/f"{name}_results.csv", sha256)
            path = Path(folder or d)/f"{name}_results.csv"
            if not path.exists():
                raise UserError(f"{path} does not exist: give the folder of the five published files, or leave it out to have them fetched.")
            if sha256_file(path) != sha256: raise UserError(f"{path} is not the published file (its sha256 is not {sha256}).")
        numbers = numbers_of(folder or d)
    path = Path(out)/"published.csv"
    write_text(path, numbers.to_csv(index=False, lineterminator="\n"))
    what = "ranks of the causal gene, list lengths and flags, computed from the responses of GitHub suyashss/rft_demo, folder results; no text of theirs"
    write_json(path.with_suffix(".json"), {"what": what, "commit": COMMIT, "sha256": SHA256, "loci": len(numbers),
                                           "genes": int(numbers.gene.nunique()), "table_sha256": sha256_file(path)})
    return path


if __name__ == "__main__":
    try: print(build_published(sys.argv[1] if sys.argv[1:] and sys.argv[1] else None))
    except UserError as e: sys.exit(f"Error: {e}")
