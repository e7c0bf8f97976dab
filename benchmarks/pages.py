"""How long the pages of a finished run take: python benchmarks/pages.py RUN [--engine nbconvert] [--save]

The whole site of RUN, as `generank report` makes it: the report, the data's page and the first run's page executed and rendered, and all pages of the library, in a fresh
interpreter for each engine that is installed. Beside it, in the same minutes, the peer: plain `jupyter nbconvert --to html` of the same notebooks as they lie there (those of
RUN executed, the others as committed), in one call and with nothing to execute."""
import argparse, os, platform, shutil, sys, tempfile
from pathlib import Path

from _record import save
from tiny import timed

from generank.manifest import REPOSITORY

TARGET = 60  # seconds, on two cores
WHOLE = "import sys; from generank.library import render_site; render_site(sys.argv[1], engine=sys.argv[2], site=sys.argv[3])"


def size(folder)->float:
    "Megabytes of the files below a folder."
    return sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file()) / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("--engine", choices=["nbconvert", "quarto"], help="only this one; default: nbconvert, and quarto where it is installed")
    parser.add_argument("--save", action="store_true", help="keep what was measured in results/speed/")
    options = parser.parse_args()
    engines = [options.engine] if options.engine else ["nbconvert", *(["quarto"] if shutil.which("quarto") else [])]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        run = shutil.copytree(options.run, folder/Path(options.run).resolve().name, ignore=shutil.ignore_patterns("site", "checkpoint-*"))
        for engine in engines:
            seconds = timed([sys.executable, "-c", WHOLE, str(run), engine, str(folder/engine)])
            rows.append((f"the site by {engine}", len(list((folder/engine).glob("*.html"))), size(folder/engine), seconds))
        own = [run/"notebooks"/f"{name}.ipynb" for name in ("index", "dataset")]
        notebooks = own + [p for p in sorted((REPOSITORY/"nbs").glob("*.ipynb")) if p.name not in {o.name for o in own}]
        peer = timed([sys.executable, "-m", "nbconvert", "--to", "html", "--output-dir", str(folder/"peer"), *map(str, notebooks)])
        rows.append(("plain jupyter nbconvert", len(notebooks), size(folder/"peer"), peer))
    said = "; ".join(f"{what} took {seconds:.0f} s (target {TARGET} s), {seconds / peer:.2f} times what plain nbconvert takes for the same notebooks" for what, _, _, seconds in rows[:-1])
    said = said[0].upper() + said[1:] + "."
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}: {said}")
    columns, text = ["What", "Pages", "MB", "Seconds", "Of the peer's time"], [[what, str(n), f"{mb:.1f}", f"{s:.1f}", f"{s / peer:.2f}"] for what, n, mb, s in rows]
    for row in text: print("  {:<26}{:>5} pages {:>7} MB {:>7} s {:>7}".format(*row))
    if options.save: print(save("pages", said, columns, text))


if __name__ == "__main__": main()
