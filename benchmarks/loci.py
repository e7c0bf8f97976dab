"""How long all loci take to build, and how much memory that takes: python benchmarks/loci.py [--gold-standards FOLDER] [--save]

Everything is done in this process: reading the 7,964 lines of the three files, the candidates of every line, merging, regions, split, audit, and
writing the table. The time includes the imports, the memory is the most that the process ever held. Beside it stands what the
candidates alone take when each variant is looked up by itself. Without a folder the files are fetched by their pinned addresses."""
import time

began = time.perf_counter()
import argparse, os, platform, sys, tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
import pandas as pd

from _record import peak, save
from generank.data import build_bundled, check_loci
from generank.genes import candidate_genes, load_genes, of_biotypes
from generank.readers import near
from generank.sources import gold_files, read_gold

SECONDS, MEGABYTES = 30, 1024  # limits


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gold-standards", help="folder of Open Targets' three files; fetched where not given")
    parser.add_argument("--save", action="store_true", help="keep what was measured in results/speed/")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        loci = pd.read_parquet(build_bundled(options.gold_standards, out=folder)/"loci.parquet")
    check_loci(loci)
    seconds, megabytes = time.perf_counter() - began, peak() * 2**10
    print(f"{platform.machine()}, Python {platform.python_version()}: {len(loci)} loci built, split and audited in {seconds:.1f} s, {megabytes:.0f} MB at most (limits {SECONDS} s, {MEGABYTES} MB)")
    measured = [[f"{len(loci)} loci", "built, split, audited, imports included", f"{seconds:.1f} s", f"{megabytes:.0f} MB"]]
    if options.gold_standards:
        rows, genes = read_gold(gold_files(folder, options.gold_standards)[0]), of_biotypes(load_genes(), "protein_coding")
        at = time.perf_counter()
        joined = near(rows, genes)
        join, at = time.perf_counter() - at, time.perf_counter()
        some = rows[::10]
        looked_up = [sorted(candidate_genes(c, p, genes=genes).symbol) for c, p in zip(some.chrom, some.pos)]
        loop = (time.perf_counter() - at) * len(rows) / len(some)
        assert looked_up == joined.candidates[::10].tolist()
        print(f"Candidates of {len(rows)} lines: {join:.2f} s by the interval join, {loop:.1f} s one by one, by a tenth of them ({loop / join:.0f} times)")
        measured += [[f"{len(rows):,} lines", "candidates by the interval join", f"{join:.2f} s", ""], [f"{len(rows):,} lines", "candidates looked up one by one, by a tenth of them", f"{loop:.1f} s", ""]]
    if options.save: print(save("loci", "Wall time in one process; memory is the most that it ever held.", ["What", "Work", "Time", "Memory"], measured))
    over = [what for what, value, limit in (("time", seconds, SECONDS), ("memory", megabytes, MEGABYTES)) if value >= limit]
    print(f"Over the limit: {', '.join(over)}." if over else "Within both limits.")
    return len(over)


if __name__ == "__main__": sys.exit(main())
