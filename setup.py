"""Packaging, read from settings.ini so that every fact stands in one place."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

parser = ConfigParser(delimiters=["="], interpolation=None)
parser.read(Path(__file__).parent / "settings.ini", encoding="utf-8")
settings = parser["DEFAULT"]

setup(
    name=settings["lib_name"],
    version=settings["version"],
    description=settings["description"],
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=settings["author"],
    license="Apache-2.0",
    keywords=settings["keywords"].split(),
    packages=find_packages(include=["generank", "generank.*"]),
    include_package_data=True,
    package_data={"generank": ["data/*", "data/tour/*", "profiles/*.yaml", "templates/**/*", "launch/*"]},
    python_requires=f">={settings['min_python']}",
    install_requires=settings["requirements"].split(),
    extras_require={extra: settings[f"{name}_requirements"].split() for extra, name in
                    {"dev": "dev", "embeddings": "embedding", "desktop": "desktop", "gpu": "gpu", "modal": "modal", "track": "track", "app": "app", "slurm": "slurm"}.items()},
    entry_points={
        "console_scripts": settings["console_scripts"].split(),
        "nbdev": [f"{settings['lib_name']}={settings['lib_name']}._modidx:d"],
    },
    zip_safe=False,
)
