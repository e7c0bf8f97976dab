"""How long the smallest whole run takes: python benchmarks/tiny.py [--profile tiny] [--save]

`generank run --profile tiny` in a fresh folder, and each stage's seconds from its manifest."""
import argparse, json, os, platform, subprocess, sys, tempfile, time
from pathlib import Path

from _record import save

TARGET = 90  # seconds

def timed(command, **kwargs)->float:
    "Seconds on the clock that a command takes; its output is shown where it fails."
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, **kwargs)
    if done.returncode: sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--profile", default="tiny", help="another profile to time")
    parser.add_argument("--save", action="store_true", help="keep what was measured in results/speed/")
    options = parser.parse_args()
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        run = lambda *more: [str(Path(sys.executable).with_name("generank")), "run", "--profile", options.profile, *more]
        timed(run("--dry-run"), cwd=folder, env=env)  # files are in memory from here on
        whole = timed(run("--out", "tiny"), cwd=folder, env=env)
        stages = {k: s["seconds"] for k, s in json.loads((Path(folder)/"tiny"/"manifest.json").read_text())["stages"].items()}
    said = f"the {options.profile} run took {whole:.0f} s (target {TARGET} s)"
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}: {said}")
    for name, seconds in stages.items(): print(f"  {name:<24}{seconds:6.1f} s")
    if options.save: print(save("tiny", f"{said[0].upper()}{said[1:]}.", ["Stage", "Seconds"], [[name, f"{seconds:.1f}"] for name, seconds in stages.items()]))
    return 0 if whole < TARGET else 1


if __name__ == "__main__": sys.exit(main())
