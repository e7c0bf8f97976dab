"""How long the pages of a finished run take: python benchmarks/pages.py RUN [--engine nbconvert] [--save]

The whole site of RUN, as `generank report` makes it: the report, the data's page and the first run's page executed and rendered, and all pages of the library, in a fresh
interpreter for each engine that is installed. By Quarto twice: from nothing, and as for the next run, when the library's pages are kept and the three others made anew. Beside it, in the same minutes, the peer: plain `jupyter nbconvert --to html` of the same notebooks as they lie there (those of
RUN executed, the others as committed), in one call and with nothing to execute."""
import argparse, os, platform, resource, shutil, sys, tempfile
from pathlib import Path

from _record import save
from tiny import timed

from generank.execution import REPOSITORY

TARGET = 60  # seconds, on two cores
WHOLE = "import sys; from generank.library import render_site; render_site(sys.argv[1], engine=sys.argv[2], site=sys.argv[3])"


def size(folder)->float:
    "Megabytes of the files below a folder."
    return sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file()) / 1e6


def cost(command, **kwargs)->tuple[float, float]:
    "Seconds on the clock, and of the processors, that a command takes."
    used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    before = used()
    return timed(command, **kwargs), used() - before


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
        cache = folder/"cache"
        for engine in engines:
            for turn in (" from nothing", " for the next run") if engine == "quarto" else ("",):
                for page in cache.glob("quarto/*/*.html"):
                    if page.stat().st_size > 1e6: page.unlink()   # a page that carries all it needs: the library's don't
                spent = cost([sys.executable, "-c", WHOLE, str(run), engine, str(folder/f"site-{len(rows)}")], env={**os.environ, "GENERANK_CACHE": str(cache)})
                rows.append((f"the site by {engine.replace('q', 'Q')}{turn}", folder/f"site-{len(rows)}", *spent))
        own = [run/"notebooks"/f"{name}.ipynb" for name in ("index", "dataset")]
        notebooks = own + [p for p in sorted((REPOSITORY/"nbs").glob("*.ipynb")) if p.name not in {o.name for o in own}]
        rows.append(("plain jupyter nbconvert", folder/"peer", *cost([sys.executable, "-m", "nbconvert", "--to", "html", "--output-dir", str(folder/"peer"), *map(str, notebooks)])))
        text = [[what, str(len(list(site.glob("*.html")))), f"{size(site):.1f}", f"{seconds:.1f}", f"{processor:.1f}", f"{seconds / rows[-1][2]:.2f}"] for what, site, seconds, processor in rows]
    times = ", ".join(f"{what.removeprefix('the site ')} {seconds:.0f} s ({seconds / rows[-1][2]:.2f} times as long as plain nbconvert)" for what, _, seconds, _ in rows[:-1])
    said = f"All pages of a site took {times}; the target is {TARGET} s. Plain `jupyter nbconvert` of the notebooks behind them took {rows[-1][2]:.0f} s; the list of the library, the speed, the log and the search have no notebook."
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}: {said}")
    columns = ["What", "Pages", "MB", "Seconds", "Processor seconds", "Of plain nbconvert's time"]
    for row in text: print("  {:<34}{:>5} pages {:>7} MB {:>7} s {:>7} s {:>7}".format(*row))
    if options.save: print(save("pages", said, columns, text))


if __name__ == "__main__": main()
