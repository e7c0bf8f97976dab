"""The Dockerfile and the dev container name what is there; nobody has built them yet, so this is all that is known of them. Locks and NOTICE are whole."""
import json
import re
import shlex
import subprocess
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT/"Dockerfile").read_text(encoding="utf-8")


def test_the_image_is_made_of_files_that_are_here():
    copied = [shlex.split(line)[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY")]
    assert copied and all((ROOT/name).exists() for names in copied for name in names), copied
    installed = re.findall(r"-r (\S+)", DOCKERFILE)
    assert installed == ["requirements/cpu.txt", "requirements/cuda.txt", "requirements/model.txt"] and all((ROOT/f).is_file() for f in installed)
    ignored = (ROOT/".dockerignore").read_text().split()
    assert not {"requirements", "settings.ini", "nbs", "generank", "results", ".git"} & set(ignored)


def test_the_image_gets_the_pinned_packages_of_the_extra():
    command = re.search(r"\$\((sed .*?)\);", DOCKERFILE)[1]
    found = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    settings = ConfigParser(delimiters=["="], interpolation=None)
    settings.read(ROOT/"settings.ini")
    assert found.split() == settings["DEFAULT"]["gpu_requirements"].split() and any(r.startswith("vllm==") for r in found.split())


def test_the_dev_container_builds_the_same_image():
    container = json.loads((ROOT/".devcontainer"/"devcontainer.json").read_text())
    folder = ROOT/".devcontainer"
    assert (folder/container["build"]["dockerfile"]).resolve() == ROOT/"Dockerfile" and (folder/container["build"]["context"]).resolve() == ROOT
    assert set(container["build"]["args"]) <= set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.M))


def test_every_package_of_the_locks_has_its_hashes():
    for lock in sorted((ROOT/"requirements").glob("*.txt")):
        packages = [p for p in re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", lock.read_text(encoding="utf-8"), flags=re.M)).splitlines() if p.strip()]
        assert packages and not [p[:60] for p in packages if not re.match(r"\S+==\S+ (; [^-]+)?( *--hash=sha256:[0-9a-f]{64})+$", p)], lock.name


def test_notice_names_every_bundled_file():
    notice = (ROOT/"NOTICE").read_text(encoding="utf-8")
    bundled = {p.name.split(".")[0] for p in (ROOT/"generank"/"data").iterdir()}
    assert bundled and not [name for name in bundled if not re.search(rf"\b{name}(\.[\w*.]+)?", notice)]
    for lock in ("model", "desktop"):
        for name in re.findall(r"^([\w-]+)==", (ROOT/"requirements"/f"{lock}.txt").read_text(encoding="utf-8"), re.M):
            assert re.sub(r"\d+$", "", name) in notice, name
