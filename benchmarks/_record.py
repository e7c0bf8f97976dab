"""What a benchmark measured: results/speed/NAME.json with the command, the machine and the day."""
import os, platform, sys
from pathlib import Path

from generank.core import most_memory, write_json
from generank.execution import REPOSITORY, hardware, now


def peak()->float: return most_memory() * 1e9 / 2**30   # GiB


def save(name:str, said:str, columns:list[str], rows:list[list[str]])->Path:
    "Write one record; the values of its rows are text."
    machine, path = hardware(), REPOSITORY/"results"/"speed"/f"{name}.json"
    what = ", ".join(machine["gpus"]) or f"{machine['cores']} cores ({machine['cpu'] or platform.machine()})"
    others = f", with a load of {os.getloadavg()[0]:.1f} on the machine when it ended" if hasattr(os, "getloadavg") else ""
    options = ["FILE" if os.path.isabs(a) else a for a in sys.argv[1:] if a != "--save"]
    write_json(path, {"said": said, "columns": columns, "rows": rows, "command": " ".join(["python", f"benchmarks/{name}.py", *options, "--save"]),
                      "machine": f"{what}, Python {platform.python_version()}{others}", "date": now()[:10]})
    return path
