"""The report as a reader gets it: rendered from a real tiny run, then from the same run with another result."""
import base64
import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import psutil
import pytest

import forked
from conftest import BROWSER
from forked import Forked
from generank import report
from generank.core import UserError, read_json, write_json
from generank.execution import PACKAGE
from generank.pipeline import render, render_page
from test_run import wait_for

ROOT = Path(__file__).resolve().parents[1]


class Loads(HTMLParser):
    "What a page would load from outside itself when it is opened; links that are followed on a click don't count."
    SOURCES = {**dict.fromkeys(("script", "img", "iframe", "source", "video", "audio", "embed"), "src"), "link": "href"}

    def __init__(self, page):
        super().__init__()
        self.found, self.inside = [], ""
        self.feed(page)
        self.close()

    def styled(self, css): self.found += re.findall(r"(?:@import\s+|url\()[\"']?([^\"')\s]+)", css, re.I)

    def handle_starttag(self, tag, attrs):
        self.inside, given = tag, dict(attrs)
        if address := given.get(self.SOURCES.get(tag)): self.found.append(address)
        self.styled(given.get("style") or "")

    def handle_endtag(self, tag): self.inside = ""

    def handle_data(self, text):
        if self.inside == "style": self.styled(text)


def loads(page): return [f for f in Loads(page).found if not f.startswith(("data:", "#"))]


def test_what_a_page_loads_is_seen():
    assert loads('<script src="https://a.example/x.js"></script><img alt="" src="data:image/png;base64,AA"><link rel=x href="y.css">') == ["https://a.example/x.js", "y.css"]
    assert loads('<style>a { background: url(a.png) }</style><p style="background: url(&quot;b.png&quot;)">x</p><code>&lt;style>url(c.png)</code>') == ["a.png", "b.png"]


@pytest.fixture(scope="module")
def tiny(tiny_run, tmp_path_factory):
    "The finished tiny run without its report."
    return copied(tiny_run[0], tmp_path_factory.mktemp("report")/"tiny")


@pytest.fixture(scope="module")
def page(tiny): return render(tiny, engine="nbconvert")


def copied(tiny, folder):
    "A copy of the run without its page."
    return Path(shutil.copytree(tiny, folder, ignore=shutil.ignore_patterns("site")))


def test_page_is_one_file_that_needs_nothing_else(page):
    text = page.read_text(encoding="utf-8")
    assert loads(text) == [] and "<script" not in text
    assert [p.name for p in page.parent.iterdir()] == ["index.html"]


def test_every_picture_has_words_and_every_link_a_target(page):
    text = page.read_text(encoding="utf-8")
    images = re.findall(r"<img\b[^>]*>", text)
    assert len(images) >= 5 and all(re.search(r'\balt="[^"]{20,}"', i) for i in images)
    targets = set(re.findall(r'\bid="([^"]+)"', text))
    links = re.findall(r'href="([^"]+)"', text)
    assert {a[1:] for a in links if a.startswith("#")} <= targets
    assert not [a for a in links if not a.startswith(("#", "data:", "https://"))]


def test_the_table_behind_a_figure_comes_with_the_page(page, tiny):
    found = dict(re.findall(r'<a download="([^"]+)" href="data:text/csv;base64,([^"]+)"', page.read_text(encoding="utf-8")))
    assert {"answer.csv", "main_comparison.csv", "top_k.csv", "locus.csv", "paired_differences.csv", "reward_curve.csv", "layers.csv"} <= set(found)
    lines = base64.b64decode(found["main_comparison.csv"]).decode().splitlines()
    assert len(lines) == 1 + 2 * len(read_json(tiny/"evaluation/metrics.json")["runs"])


def test_page_names_no_folder_of_this_machine(page, tiny):
    for text in (page.read_text(encoding="utf-8"), (tiny/"notebooks/index.ipynb").read_text(encoding="utf-8")):
        assert str(tiny) not in text and str(ROOT) not in text and str(Path.home()) + "/" not in text


def test_page_says_what_it_is_and_of_its_own_run_alone(page):
    text = page.read_text(encoding="utf-8")
    assert "and learns nothing" in text and "Recorded" not in text and "smollm2" not in text.lower()
    first = text[:text.index("<h2")]
    assert first.count("<figure>") == 1 and re.search(r"<strong>GRPO .* MRR.*held-out loci", first)
    for machinery in ("#| include", "open_settings"): assert machinery not in text, machinery


@pytest.mark.parametrize("difference, words", [(0.3, "GRPO raised MRR"), (0.0, "GRPO is not shown to have changed MRR"), (-0.3, "GRPO lowered MRR")])
def test_sentences_follow_the_result(tiny, tmp_path, difference, words):
    folder = copied(tiny, tmp_path/"run")
    found = read_json(folder/"evaluation/comparisons.json")
    for row in found["primary"] + found["secondary"]:
        if (row["a"], row["b"]) == ("grpo-rank", "warm-start"):
            row.update(difference=difference, ci_low=difference - 0.1, ci_high=difference + 0.1, cluster_p=0.001 if difference else 0.9, holm_p=None)
    write_json(folder/"evaluation/comparisons.json", found)
    n = report.Numbers(folder)
    text = " ".join(map(str, (*report.answer(n), *report.does_it_help(n))))   # as the page's cells show them
    assert [w for w in ("GRPO raised MRR", "GRPO is not shown to have changed MRR", "GRPO lowered MRR") if w in text] == [words]


def test_missing_number_stops_the_build(tiny, tmp_path):
    folder = copied(tiny, tmp_path/"run")
    metrics = read_json(folder/"evaluation/metrics.json")
    metrics["runs"] = [r for r in metrics["runs"] if r["name"] != "grpo-rank"]
    write_json(folder/"evaluation/metrics.json", metrics)
    with pytest.raises(UserError, match=r"has no value at 'runs\.grpo-rank\.region_mean'"): render(folder, engine="nbconvert")
    assert not (folder/"site/index.html").exists()


def test_two_runs_on_one_page_and_hostile_text_stays_text(tiny, tmp_path):
    "Two copies of the run whose answers were changed, compared through the command line: what the one says is markup, the other names the causal genes."
    one, other = (copied(tiny, tmp_path/name) for name in ("tiny", "other"))
    answers = pd.read_parquet(one/"responses/grpo-rank.parquet")
    answers.assign(completion="<script>alert(1)</script><img src=x onerror=alert(2)>").to_parquet(one/"responses/grpo-rank.parquet")
    answers.assign(completion=[f"<genes> [{gene}] </genes>" for gene in answers["causal_gene"]]).to_parquet(other/"responses/grpo-rank.parquet")
    done = forked.run("report", one, other, "--out", tmp_path/"page", "--engine", "nbconvert")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == tmp_path/"page/index.html"
    text = (tmp_path/"page/index.html").read_text(encoding="utf-8")
    assert 'id="other-runs"' in text and "grpo-rank of other − grpo-rank of tiny" in text and loads(text) == []
    assert "&lt;script&gt;alert(1)" in text and "<script" not in text and "<img src=x" not in text


FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr"]


def looked_at(page, folder, width=1280, dark=False):
    "What Chromium finds on a page (`look.js`), and what it writes to its console."
    if BROWSER is None: pytest.skip("no Chromium here to open the page with")
    copy = folder/f"look-{page.name}"
    text = re.sub("<meta[^>]*Content-Security-Policy[^>]*>", "", page.read_text(encoding="utf-8"))   # it forbids scripts, our own too
    copy.write_text(text.replace("</body>", f"<script>{(ROOT/'tests/look.js').read_text()}</script></body>"), encoding="utf-8")
    flags = [*FLAGS, f"--user-data-dir={folder/'profile'}", f"--window-size={width},900", "--virtual-time-budget=3000", "--dump-dom"]
    done = subprocess.run([BROWSER, *flags, *(["--force-dark-mode"] if dark else []), copy.as_uri()], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    found = re.search(r"FOUND(.*?)END", done.stdout, re.S)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found[1])) | {"console": [l for l in done.stderr.splitlines() if "CONSOLE" in l]}


def faults_of(page, folder, width, dark=False):
    "Names of what is wrong with a page in a window, each with what was found."
    found = looked_at(page, folder, width, dark)
    assert found["dark"] == dark and found["texts"] > 20
    wrong = {name: found[name] for name in ("console", "faint", "dead", "fetched", "silent", "blank") if found[name]}
    return wrong | ({"wider than the window": found["wide"]} if found["wide"] > 0 else {})


@pytest.mark.parametrize("width, dark", [(1280, False), (390, True)])
def test_the_page_is_sound_in_a_browser(page, tmp_path, width, dark): assert faults_of(page, tmp_path, width, dark) == {}


def test_what_is_broken_is_seen(tmp_path):
    "One fault of each kind on a page."
    broken = ("<p style='color: #aaa'>faint words</p>", "<a href='#nowhere'>a dead link</a>", "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>", "<img alt='a picture' src='none.png'>",
              "<script>undefined_thing()</script>", "<script src='https://example.invalid/x.js'></script>", "<div style='width: 3000px'>wide</div>")
    page = lambda *parts: f"<!DOCTYPE html><html lang='en'><body><main>{'<p>words</p>' * 30}{''.join(parts)}</main></body></html>"
    hurt, whole = tmp_path/"hurt.html", tmp_path/"whole.html"
    hurt.write_text(page(*broken), encoding="utf-8")
    whole.write_text(page(), encoding="utf-8")
    found = faults_of(hurt, tmp_path, 1280)
    assert set(found) == {"console", "faint", "dead", "fetched", "silent", "blank", "wider than the window"}
    assert any("undefined_thing" in str(x) for x in found["console"]) and "faint words" in str(found["faint"]) and "nowhere" in str(found["dead"]) and "example.invalid" in str(found["fetched"]), found
    assert faults_of(whole, tmp_path, 1280) == {}


def test_a_report_ends_at_once_when_it_is_stopped(tiny, tmp_path):
    "Ctrl-C in a terminal while the notebook is executed: its kernel goes too."
    process = Forked(["report", tiny, "--engine", "nbconvert"], cwd=tmp_path)
    kernels = lambda: [p for p in psutil.Process(process.pid).children() if os.getsid(p.pid) == p.pid]   # a kernel leads a session of its own
    wait_for(lambda: len(kernels()) == 1, process)
    time.sleep(1)   # it is at work
    running = kernels()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1 and err == "Stopped.\n", err
    wait_for(lambda: not any(k.is_running() for k in running), seconds=10)


@pytest.mark.skipif(not shutil.which("quarto"), reason="Quarto is no Python package and optional; without it nbconvert makes the same page")
def test_quarto_renders_it_without_a_complaint(tiny, tmp_path):
    text = render(tiny, engine="quarto", site=tmp_path/"site").read_text(encoding="utf-8")
    for words in ("and learns nothing", 'download="main_comparison.csv"'): assert words in text
    assert loads(text) == [] and "open_settings" not in text


def test_quarto_gets_no_directive_and_no_html_output():
    "By `ipynb-filters` of `_quarto.yml`: it would show nbdev's directives, and load scripts from a CDN beside HTML."
    for path in sorted((ROOT/"nbs").glob("*.ipynb")):
        done = subprocess.run([sys.executable, ROOT/"scripts/quarto_filter.py"], input=path.read_text(encoding="utf-8"), capture_output=True, text=True, check=True)
        code = [c for c in json.loads(done.stdout)["cells"] if c["cell_type"] == "code"]
        assert code or path.stem == "90_published", path
        for cell in code:
            assert not re.search(r"^#\|\s*(export|hide|default_exp)", cell["source"], re.M), cell["source"][:80]
            assert all("text/html" not in out.get("data", {}) for out in cell["outputs"]), cell["source"][:80]


def luminance(colour):
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    return sum(w * (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4) for w, c in zip((0.2126, 0.7152, 0.0722), parts))


def test_text_stands_out_from_the_paper():
    "WCAG AA: a contrast of at least 4.5 for every text colour of the page, in light and in dark."
    themes = [dict(re.findall(r"--(\w+): (#\w{6})", t)) for t in re.findall(r":root \{([^}]*)\}", (PACKAGE/"templates/report/page.css").read_text(encoding="utf-8"))]
    assert len(themes) == 2
    for theme in themes:
        for ink in (theme["ink"], theme["quiet"], theme["link"]):
            for paper in (theme["paper"], theme["wash"]):
                low, high = sorted((luminance(ink), luminance(paper)))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper)


def test_the_readme_says_what_the_recorded_runs_say():
    assert subprocess.run([sys.executable, ROOT/"scripts/figure.py", "--check"]).returncode == 0, "README.md differs from results/: run `make figure`"


def test_the_readme_pools_seeds(tmp_path, monkeypatch):
    "A second seed whose answers to the two traits are exchanged brings trait discrimination to one half; seeds that asked other pairs are refused."
    monkeypatch.syspath_prepend(str(ROOT/"scripts"))
    import figure
    probe = {"arm": figure.MAIN, "perturbation": "both-traits", "name": "both-traits"}
    told, runs = pd.read_parquet(ROOT/"results/desktop/seed-1/probes/grpo-rank/both-traits.parquet"), {}
    other = told.sort_values("locus_id", ignore_index=True)
    other["completion"] = other.completion.to_numpy().reshape(-1, 2)[:, ::-1].ravel()
    for seed, table in ((1, told), (2, other)):
        runs[tmp_path/f"seed-{seed}"] = {"seed": seed, "perturbations": [probe]}
        (folder := tmp_path/f"seed-{seed}"/"probes"/figure.MAIN).mkdir(parents=True)
        table.to_parquet(folder/"both-traits.parquet")
    one, both = figure.discrimination(dict(list(runs.items())[:1])), figure.discrimination(runs)
    assert one["value"] > 0.5 == both["value"] == both["ci_low"] == both["ci_high"]   # in every pair
    assert (both["n_pairs"], one["n_pairs"], both["seeds"], figure.discrimination({tmp_path: {"seed": 3}})) == (54, 54, [1, 2], None)
    other[2:].to_parquet(folder/"both-traits.parquet")
    with pytest.raises(SystemExit, match="asked different pairs"): figure.discrimination(runs)
    row = {"ci_low": 1, "ci_high": 2, "two_level_ci_low": 0, "two_level_ci_high": 3}
    assert [figure.over_seeds({**row, "per_seed": seeds})["ci_high"] for seeds in ("1", "12", "123")] == [2, 2, 3]


def test_the_first_runs_page_needs_no_run_and_no_network(tmp_path):
    page = render_page(ROOT/"nbs/90_published.ipynb", tmp_path/"site/published.html", {"draws": 200}, "nbconvert")
    text = page.read_text(encoding="utf-8")
    assert [p.name for p in page.parent.iterdir()] == ["published.html"] and loads(text) == [] and "<script" not in text
    images = re.findall(r"<img\b[^>]*>", text)
    assert len(images) == 5 and all(re.search(r'\balt="[^"]{60,}"', i) for i in images)
    for words in ("34 loci are right by “8B, rank reward” alone, 28 by “70B, untrained” alone", "17 loci are right by “8B, rank reward” alone, 38 by “70B, untrained” alone"): assert words in text, words
    assert str(ROOT) not in text and str(tmp_path) not in text
