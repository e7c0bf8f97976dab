"""What a benchmark measured: results/speed/NAME.json with the command, the machine and the day."""
import os, platform, sys
from pathlib import Path

from generank.core import write_json
from generank.execution import REPOSITORY, hardware, now


def peak()->float:
    "The most memory that this process has held, in GiB."
    if sys.platform == "linux":   # `ru_maxrss` would count what the process that started this one held
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**20
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30


def save(name:str, said:str, columns:list[str], rows:list[list[str]])->Path:
    "Write one record; the values of its rows are text."
    machine, path = hardware(), REPOSITORY/"results"/"speed"/f"{name}.json"
    what = ", ".join(machine["gpus"]) or f"{machine['cores']} cores ({machine['cpu'] or platform.machine()})"
    others = f", with a load of {os.getloadavg()[0]:.1f} on the machine when it ended" if hasattr(os, "getloadavg") else ""
    options = ["FILE" if os.path.isabs(a) else a for a in sys.argv[1:] if a != "--save"]
    write_json(path, {"said": said, "columns": columns, "rows": rows, "command": " ".join(["python", f"benchmarks/{name}.py", *options, "--save"]),
                      "machine": f"{what}, Python {platform.python_version()}{others}", "date": now()[:10]})
    return path
