"""Time the way from installation to a ranked page of three real loci, and say where PCSK9, TCF7L2 and APOE come.

`python scripts/first_page.py` clones this repository, installs it there by `make setup`, and runs `generank rank` on three lead variants. `--here` leaves the
installation out and takes this environment. `--model none` asks no model; by default the model is that which a user gets without options in a fresh clone. The
times, the places of the three genes and what ranked them are printed, and with --out written as JSON."""
import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCI = "trait,variant\nLDL cholesterol,1_55039974_G_T\nType 2 diabetes,10_112998590_C_T\nAlzheimer's disease,19_44908684_T_C\n"
WANTED = ("PCSK9", "TCF7L2", "APOE")


def run(command, folder, **env)->float:
    "Seconds that a command took; one that fails ends the script."
    start = time.monotonic()
    done = subprocess.run(list(map(str, command)), cwd=folder, env={**os.environ, **env})
    if done.returncode: raise SystemExit(f"{' '.join(map(str, command))} ended with code {done.returncode}.")
    return round(time.monotonic() - start, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--here", action="store_true", help="this environment, without an installation")
    parser.add_argument("--model", help="as in `generank rank`")
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder, spent, home = Path(folder), {}, ROOT
        (folder/"three.csv").write_text(LOCI)
        if not options.here:
            home = folder/"generank"
            spent["clone"] = run(["git", "clone", "--quiet", ROOT, home], folder)
            spent["installation"] = run(["make", "--no-print-directory", "setup"], home)
        command = (Path(sys.executable).parent if options.here else home/".venv"/"bin")/"generank"
        asked = ["--model", options.model] if options.model else []
        spent["ranking"] = run([command, "rank", "three.csv", *asked], folder, PYTHONPATH=str(home))
        with open(folder/"three.ranked.csv", newline="", encoding="utf-8") as f: genes = list(csv.DictReader(f))
        page = (folder/"three.ranked.html").stat().st_size
        told = json.loads((folder/"three.ranked.manifest.json").read_text())["told"]
    sizes = Counter(r["locus_id"] for r in genes)
    places = {r["gene"]: {"rank": int(r["rank"]), "of": sizes[r["locus_id"]], "probability": float(r["probability"])} for r in genes if r["gene"] in WANTED}
    total = round(sum(spent.values()), 1)
    found = {"seconds": {**spent, "total": total}, "cores": os.cpu_count(), "within_five_minutes": total <= 300, "places": places, "page_bytes": page, "told": told}
    print(json.dumps(found, indent=1))
    if options.out: options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
