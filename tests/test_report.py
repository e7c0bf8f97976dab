"""The report as a reader gets it: rendered from a real tiny run, then from the same run with another result."""
import base64
import html
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import psutil
import pytest
import yaml

from generank.core import UserError, read_json, write_json, write_text
from generank.library import addresses, library_pages, render_site
from generank.report import SORT, TEMPLATES, loads, render, render_page, save_pages, save_pdf, table
from test_run import GENERANK, wait_for

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = {SORT, f"<script>\n{(TEMPLATES/'report/theme.js').read_text(encoding='utf-8').rstrip()}\n</script>"}   # what a page runs: the sorting of a table, the switch of light and dark


@pytest.fixture(scope="module")
def tiny(tiny_run, tmp_path_factory):
    "The finished tiny run without its report."
    return copied(tiny_run[0], tmp_path_factory.mktemp("report")/"tiny")


@pytest.fixture(scope="module")
def page(tiny):
    return render(tiny, engine="nbconvert", recorded_dir=str(tiny/"nothing-recorded"))


@pytest.fixture(params=["index", "dataset"])
def each(page, request):
    "Each page of the site."
    return page.with_name(f"{request.param}.html")


def copied(tiny, folder):
    "A copy of the run without its page."
    return Path(shutil.copytree(tiny, folder, ignore=shutil.ignore_patterns("site")))


def changed(tiny, folder, change):
    "A copy of the run whose comparisons were rewritten by `change`."
    copied(tiny, folder)
    found = read_json(folder/"evaluation/comparisons.json")
    change(found)
    write_json(folder/"evaluation/comparisons.json", found)
    return folder


def test_page_is_one_file_that_needs_nothing_else(each):
    html = each.read_text(encoding="utf-8")
    assert loads(html) == []
    assert set(re.findall(r"<script.*?</script>", html, re.S)) <= SCRIPTS
    assert sorted(p.name for p in each.parent.iterdir()) == ["dataset.html", "index.html", "search.html"]


def test_every_picture_has_words_and_every_link_a_target(each):
    html = each.read_text(encoding="utf-8")
    images = re.findall(r"<img\b[^>]*>", html)
    assert len(images) >= 4 and all(re.search(r'\balt="[^"]{20,}"', i) for i in images)
    assert all('aria-label="' in s for s in re.findall(r"<svg\b[^>]*>", html))
    targets = set(re.findall(r'\bid="([^"]+)"', html))
    assert {a for a in re.findall(r'href="#([^"]+)"', html)} <= targets
    local = [a for a in re.findall(r'href="([^"]+)"', html) if not a.startswith(("#", "data:", "https://"))]
    assert set(local) == {"dataset.html", "index.html"}


def test_the_table_behind_a_figure_comes_with_the_page(page, tiny):
    html = page.read_text(encoding="utf-8")
    found = dict(re.findall(r'<a download="([^"]+)" href="data:text/csv;base64,([^"]+)"', html))
    assert {"answer.csv", "main_comparison.csv", "top_k.csv", "locus.csv", "nearness.csv"} <= set(found)
    assert base64.b64decode(found["main_comparison.csv"]).decode() == (tiny/"evaluation/figures/main_comparison.csv").read_text(encoding="utf-8")


def test_page_names_no_folder_of_this_machine(each, tiny):
    html = each.read_text(encoding="utf-8")
    executed = (tiny/"notebooks"/f"{each.stem}.ipynb").read_text(encoding="utf-8")
    for text in (html, executed): assert str(tiny) not in text and str(ROOT) not in text and str(Path.home()) + "/" not in text


def test_page_says_what_it_is_and_hides_what_is_machinery(page):
    html = page.read_text(encoding="utf-8")
    assert "and learns nothing" in html
    assert "No recorded result is present" in html
    for machinery in ("run_dir = Path", "#| include", "#| echo"): assert machinery not in html, machinery


def test_the_page_of_the_data_shows_the_audit_and_the_fingerprint(page, tiny):
    html, card = page.with_name("dataset.html").read_text(encoding="utf-8"), read_json(tiny/"data/card.json")
    for check, found in card["checks"].items(): assert re.search(rf"<th>{re.escape(check)}(<small>[^<]*</small>)?</th><td>(fault|note)</td><td>{found}</td>", html), check
    assert card["fingerprint"] in html and "the same that the run's card names" in html
    for a in card["attribution"]: assert a["licence"] in html
    assert "No check for faults found any" in html
    figures = ["loci_by_trait_and_evidence.csv", "candidates_per_locus.csv", "distance_of_the_causal_gene.csv", "rank_by_distance.csv"]
    assert re.findall(r'<a download="([^"]+)"', html) == figures


def test_the_page_of_the_data_tells_of_faults_and_of_a_changed_table(tiny, tmp_path):
    folder = copied(tiny, tmp_path/"run")
    loci = pd.read_parquet(folder/"data/loci.parquet")
    loci.loc[loci.split == "test", "region_id"] = loci.region_id[loci.split == "train"].iloc[0]
    loci.to_parquet(folder/"data/loci.parquet")
    card = read_json(folder/"data/card.json")
    card["checks"]["region in two splits"] = 1
    write_json(folder/"data/card.json", card)
    html = render(folder, engine="nbconvert", notebook=ROOT/"nbs/dataset.ipynb").read_text(encoding="utf-8")
    assert "region in two splits (1)" in html and "Splits share genes or regions" in html and "the table was changed after the run" in html


@pytest.mark.parametrize("difference, answer, sentence", [
    (0.3, "It got better: under reinforcement", "ranks better than the one that it started from"),
    (0.0, "Not shown: under reinforcement", "No difference between"),
    (-0.3, "It got worse: under reinforcement", "ranks worse than the one that it started from")])
def test_sentences_follow_the_result(tiny, tmp_path, difference, answer, sentence):
    def change(found):
        for row in found["primary"]:
            if {row["a"], row["b"]} == {"grpo-rank", "warm-start"}: row.update(measured(difference))
    html = render(changed(tiny, tmp_path/"run", change), engine="nbconvert", recorded_dir=str(tmp_path/"nothing")).read_text(encoding="utf-8")
    assert answer in html and sentence in html
    answers = {"It got better: under reinforcement", "Not shown: under reinforcement", "It got worse: under reinforcement"}
    assert {a for a in answers if a in html} == {answer}


def measured(difference):
    "A difference in a comparison, its test of one mind with its interval."
    return {"difference": difference, "ci_low": difference - 0.1, "ci_high": difference + 0.1, "cluster_p": 0.001 if abs(difference) > 0.1 else 0.9, "holm_p": None}


def with_control(folder, gain):
    "Add an arm that was trained on coin flips, and that differs by `gain` from its start, to a run."
    settings = yaml.safe_load((folder/"config.yaml").read_text(encoding="utf-8"))
    settings["arms"].append({"name": "grpo-random", "training": "grpo", "reward": "random", "start_from": "warm-start"})
    (folder/"config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    metrics, found = (read_json(folder/f"evaluation/{name}.json") for name in ("metrics", "comparisons"))
    metrics["runs"].insert(3, {**next(r for r in metrics["runs"] if r["name"] == "grpo-rank"), "name": "grpo-random"})
    for row in [r for r in found["primary"] if "grpo-rank" in (r["a"], r["b"])]:
        found["primary"].append({**row, **{side: "grpo-random" for side in "ab" if row[side] == "grpo-rank"}, **measured(gain)})
    found["primary"].append({**found["primary"][0], "a": "grpo-rank", "b": "grpo-random", **measured(0.0)})
    write_json(folder/"evaluation/metrics.json", metrics)
    write_json(folder/"evaluation/comparisons.json", found)


@pytest.mark.parametrize("gain, said, unsaid", [
    (0.3, ["But without any knowledge of the causal gene grpo-random gained as well.", "knows nothing of the causal gene, gained against warm-start"], ["is not shown to have changed"]),
    (0.0, ["knows nothing of the causal gene, is not shown to have changed against warm-start"], ["gained as well"]),
    (-0.3, ["knows nothing of the causal gene, got worse against warm-start"], ["gained as well"])])
def test_a_control_is_told_of(tiny, tmp_path, gain, said, unsaid):
    with_control(copied(tiny, tmp_path/"run"), gain)
    html = re.sub(r"</?(em|strong)>", "", render(tmp_path/"run", engine="nbconvert", recorded_dir=str(tmp_path/"nothing")).read_text(encoding="utf-8"))
    assert "No difference between grpo-rank and grpo-random was shown" in html and "Held against the control it is not shown to differ from grpo-random (+0.000" in html
    for words in said: assert words in html, words
    for words in unsaid: assert words not in html, words


def test_supervised_fine_tuning_is_compared(tiny, tmp_path):
    folder = copied(tiny, tmp_path/"run")
    with_control(folder, 0.0)
    settings = yaml.safe_load((folder/"config.yaml").read_text(encoding="utf-8"))
    for arm in settings["arms"]:
        if arm["name"] == "grpo-random": arm |= {"training": "sft", "reward": None}
    (folder/"config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    html = re.sub(r"</?em>", "", render(folder, engine="nbconvert", recorded_dir=str(tmp_path/"nothing")).read_text(encoding="utf-8"))
    assert "grpo-random was shown the right answers instead of being scored" in html
    assert "No difference between grpo-rank and grpo-random was shown" in html and "knows nothing of the causal gene" not in html


def test_a_training_that_broke_the_answers_is_called_failed(tiny, tmp_path):
    folder = copied(tiny, tmp_path/"run")
    metrics = read_json(folder/"evaluation/metrics.json")
    for run_ in metrics["runs"]:
        if run_["name"] in ("warm-start", "grpo-rank"): run_["format_error_rate"] = {"warm-start": 0.0, "grpo-rank": 0.97}[run_["name"]]
    write_json(folder/"evaluation/metrics.json", metrics)
    html = render(folder, engine="nbconvert", recorded_dir=str(tmp_path/"nothing")).read_text(encoding="utf-8")
    assert html.count("The training failed: after it 97\u00a0% of the answers hold no gene list, before it 0\u00a0%.") == 2   # above the fold, and under "Does it help?"


def test_run_without_training_claims_nothing(tiny, tmp_path):
    folder = copied(tiny, tmp_path/"run")
    settings = yaml.safe_load((folder/"config.yaml").read_text(encoding="utf-8"))
    settings["arms"] = [a for a in settings["arms"] if a["training"] != "grpo"]
    (folder/"config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    html = render(folder, engine="nbconvert", recorded_dir=str(tmp_path/"nothing")).read_text(encoding="utf-8")
    assert "This run trains nothing" in html and "under reinforcement fine-tuning" not in html


def test_missing_number_stops_the_build(tiny, tmp_path):
    folder = copied(tiny, tmp_path/"run")
    metrics = read_json(folder/"evaluation/metrics.json")
    metrics["runs"] = [r for r in metrics["runs"] if r["name"] != "grpo-rank"]
    write_json(folder/"evaluation/metrics.json", metrics)
    with pytest.raises(UserError, match=r"has no value at 'runs\.grpo-rank\.format_error_rate'"):
        render(folder, engine="nbconvert", recorded_dir=str(tmp_path/"nothing"))
    assert not (folder/"site/index.html").exists()


def broken(site):
    """What is wrong with the links and pictures of every page of a folder, and which pages no link leads to; what a page loads must lie in the folder."""
    pages = {p.name: p.read_text(encoding="utf-8") for p in site.glob("[!.]*.html")}
    ids = {name: set(re.findall(r'\bid="([^"]+)"', html)) for name, html in pages.items()}
    found, led_to = [], {"index.html", "search.html"}
    for name, page in pages.items():
        body = re.sub(r"(<script[^>]*>).*?(</script>)", r"\1\2", page, flags=re.S)
        found += [f"{name} loads {address}" for address in loads(body) if "://" in address or not (site/address).is_file()] + [f"{name} has a picture without words" for i in re.findall(r"<img\b[^>]*>", body) if not re.search(r'\balt="[^"]{20,}"', i)]
        found += [f"{name} has a drawing without words" for i in re.findall(r"<svg\b[^>]*>", body) if "aria-label=" not in i]
        for href in set(re.findall(r'<a\b[^>]*?\bhref="([^"]*)"', body)):
            if href.startswith(("data:", "https://")): continue
            target, _, anchor = html.unescape(href).partition("#")
            target = target or name
            led_to.add(target)
            if target not in pages: found.append(f"{name} links to {href}, which is not there")
            elif anchor and unquote(anchor) not in ids[target]: found.append(f"{name} links to {href}, a place that is not there")
    return found + [f"no page leads to {name}" for name in sorted(set(pages) - led_to)]


@pytest.fixture(scope="module")
def site(page, tmp_path_factory):
    "The whole site: the tiny run's pages, the first run's, and all of the library."
    folder = Path(shutil.copytree(page.parent, tmp_path_factory.mktemp("site")/"site"))
    render_page("published", folder, engine="nbconvert", draws=200)
    save_pages(library_pages(), folder, "nbconvert", "Rendered by a test.")
    return folder


def test_every_page_of_the_site_is_whole(site):
    assert broken(site) == []
    names = {p.stem for p in site.glob("*.html")}
    assert {p.stem for p in (ROOT/"nbs").glob("*.ipynb")} | {"library", "speed", "log", "search"} == names
    for name in names:
        html = (site/f"{name}.html").read_text(encoding="utf-8")
        assert html.count('<nav class="bar"') == 1 and re.search('<nav class="bar".*?</nav>', html, re.S)[0].count('aria-current="page"') == (name != "search"), name
        assert str(ROOT) not in html and str(Path.home()) + "/" not in html and ('href="https://colab' in html) <= bool(addresses(name)), name


@pytest.mark.parametrize("hurt, said", [("<a href='nowhere.html'>x</a>", "nowhere.html, which is not there"), ("<a href='22_rewards.html#no_such_reward'>x</a>", "a place that is not there"),
                                        ("<img src='data:,'>", "picture without words"), ("<img alt='words enough for a picture' src='https://example.invalid/x.png'>", "loads https")])
def test_a_broken_page_of_the_site_is_seen(site, tmp_path, hurt, said):
    folder = Path(shutil.copytree(site, tmp_path/"site"))
    page = folder/"34_grpo.html"
    page.write_text(page.read_text(encoding="utf-8").replace("</main>", hurt.replace("'", '"') + "</main>"), encoding="utf-8")
    assert len(found := broken(folder)) == 1 and said in found[0]


def test_the_library_pages_document_what_is_exported(site):
    "Every public function and class stands on the page of its notebook, with its docstring and its parameters."
    import generank.rewards as rewards
    page = (site/"22_rewards.html").read_text(encoding="utf-8")
    for name in [n for n in rewards.__all__ if callable(getattr(rewards, n)) and getattr(rewards, n).__module__ == "generank.rewards"]: assert f'id="{name}"' in page, name
    part = re.search(r'<section class="symbol"><h3 id="rank_reward"[^>]*>.*?</section>', page, re.S)[0]
    for words in ("rank_reward(completions, answer, candidates=None, **kwargs)", "Reciprocal rank of the causal gene", "candidate genes of each completion", "1/rank of the causal gene, 0 where it is absent"): assert words in part, words


@pytest.mark.parametrize("name", ["search", "library", "12_data", "02_profile", "speed", "log"])
def test_pages_of_the_site_in_a_browser(site, tmp_path, name):
    is_right(site/f"{name}.html", tmp_path)


def test_the_search_finds(site, tmp_path):
    browser = chromium()
    done = subprocess.run([browser, *FLAGS, f"--user-data-dir={tmp_path/'profile'}", "--virtual-time-budget=3000", "--dump-dom", f"{(site/'search.html').as_uri()}?q=rank_reward"], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    hits = re.findall(r'<li><a href="([^"]+)">([^<]+)</a>', done.stdout.partition('id="hits"')[2])
    assert hits[0] == ("22_rewards.html#rank_reward", "rank_reward · Rewards") and "CONSOLE" not in done.stderr
    assert re.search(r'<p id="count"[^>]*>\d+ parts found', done.stdout)


def test_the_report_is_printed(page, tmp_path):
    chromium()
    copy = Path(shutil.copy(page, tmp_path))
    made = save_pdf(copy)
    assert made == tmp_path/"index.pdf" and made.read_bytes().startswith(b"%PDF") and made.stat().st_size > 50_000


FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr"]


def chromium():
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None: pytest.skip("no Chromium here to open the page with")
    return browser


TURNED = """addEventListener("load", () => {   // the switch is used and the page loaded again, which has to remember
  if (sessionStorage.getItem("turned")) return;
  sessionStorage.setItem("turned", "yes");
  document.querySelector("button.theme").click();
  location.reload();
});"""


def looked_at(page, folder, width=1280, dark=False, turn=""):
    """What Chromium finds on a page (`look.js`), and what it writes to its console; `turn`: a script that runs before."""
    browser = chromium()
    copy = page.with_name(f".look-{page.name}")   # beside the page, so that its links lead where they should
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", f"<script>{turn}\n{(ROOT/'tests/look.js').read_text()}</script></body>"), encoding="utf-8")
    flags = [*FLAGS, f"--user-data-dir={folder/'profile'}", f"--window-size={width},900", "--virtual-time-budget=3000", "--dump-dom"]
    try: done = subprocess.run([browser, *flags, *(["--force-dark-mode"] if dark else []), copy.as_uri()], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    finally: copy.unlink()
    found = re.search(r"FOUND(.*?)END", done.stdout, re.S)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found[1])) | {"console": [l for l in done.stderr.splitlines() if "CONSOLE" in l]}


@pytest.mark.parametrize("name", ["index", "search", "20_prompts"])
@pytest.mark.parametrize("system", ["light", "dark"])
def test_the_switch_turns_light_and_dark_and_is_remembered(site, tmp_path, name, system):
    "Against what the system says, on the page that is loaded again after the switch was used: paper, text, code and figures."
    dark = system == "dark"
    before, after = (looked_at(site/f"{name}.html", tmp_path/str(i), 390, dark, turn) for i, turn in enumerate(("", TURNED)))
    assert (before["paper"] == "#16191d", after["paper"] == "#16191d") == (dark, not dark)
    assert (before["pressed"], after["pressed"]) == (str(dark).lower(), str(not dark).lower())
    assert not after["faint"] and not after["console"] and after["wide"] <= 0
    if name == "index": assert (set(before["figures"]), set(after["figures"])) == (({"turned"}, {"as drawn"}) if dark else ({"as drawn"}, {"turned"}))


def test_the_switch_is_a_button_that_a_keyboard_reaches(page):
    button = re.search(r"<button[^>]*class=\"theme\"[^>]*>", page.read_text(encoding="utf-8"))[0]
    assert 'type="button"' in button and 'aria-label="Dark page"' in button and "tabindex" not in button


@pytest.mark.parametrize("width, seen", [(1280, "on-wide"), (390, "on-narrow")])
def test_a_drawing_fits_its_window(page, tmp_path, width, seen):
    "Of a drawing's two layouts one is seen, and no part of it is out of sight; its smallest letters can be read."
    drawings = looked_at(page, tmp_path, width)["drawings"]
    assert len(drawings) == 4 and {d["layout"] for d in drawings} == {seen}
    for d in drawings: assert d["hidden"] <= 0 and d["letters"] >= 9, d


@pytest.mark.parametrize("width, height", [(1280, 900), (390, 844)])
def test_the_first_screen_holds_the_question_the_answer_and_a_figure(page, tmp_path, width, height):
    ends = looked_at(page, tmp_path, width)["ends"]
    assert ends["h1"] < ends[".answer p"] < ends[".answer svg"] < height, ends


def test_a_table_of_ten_columns_fits_a_desk(page, tmp_path):
    "Its last column is seen without scrolling."
    wide = table([{"run": "8B, untrained, short prompt"} | {f"top-{i}": "0.1234\n0.001 to 0.234" for i in range(9)}], "Ten columns").content
    hurt = tmp_path/"index.html"
    hurt.write_text(page.read_text(encoding="utf-8").replace("</main>", f"{wide}</main>"), encoding="utf-8")
    assert looked_at(hurt, tmp_path)["scrolled"] == [], "a table is cut off at 1,280 pixels"


def is_right(page, folder):
    """A page in a browser, light on a desk and dark on a telephone, the report also the other way round; gives the addresses that it links to."""
    for width, dark in ((1280, False), (390, True), (1280, True), (390, False))[:4 if page.name == "index.html" else 2]:
        found = looked_at(page, folder, width, dark)
        assert found["dark"] == dark and found["texts"] > (5 if page.name == "search.html" else 20)
        for fault in ("console", "faint", "dead", "fetched", "silent", "blank"): assert not found[fault], (page.name, width, fault, found[fault])
        assert found["wide"] <= 0, f"{page.name} is wider than a window of {width} pixels"
    return found["elsewhere"]


def is_sound(page, folder):
    """Every page that can be reached from `page`."""
    site, waiting, done = page.parent, [page], set()
    while waiting:
        at = waiting.pop()
        done.add(at)
        for href in is_right(at, folder):
            target = (at.parent/href.split("#")[0]).resolve()
            assert target.is_file() and site.resolve() in target.parents, f"{at.name} links to {href}"
            if target.suffix == ".html" and target not in done | set(waiting): waiting.append(target)
    return done


def test_every_page_is_sound_in_a_browser(page, tmp_path):
    assert {p.name for p in is_sound(page.resolve(), tmp_path)} == {"index.html", "dataset.html"}


@pytest.mark.parametrize("broken, fault", [
    ("<p style='color: #aaa'>faint words</p>", "faint"), ("<p style='opacity: .4'>faint words</p>", "faint"), ("<a href='#nowhere'>a dead link</a>", "dead"),
    ("<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>", "silent"), ("<img alt='a picture' src='none.png'>", "blank"), ("<a href='none.html'>a page</a>", "links to none.html"),
    ("<script>undefined_thing()</script>", "console"), ("<script src='https://example.invalid/x.js'></script>", "fetched"), ("<div style='width: 3000px'>wide</div>", "wider")])
def test_what_is_broken_is_seen(page, tmp_path, broken, fault):
    hurt = shutil.copytree(page.parent, tmp_path/"site")/"index.html"
    hurt.write_text(page.read_text(encoding="utf-8").replace("</main>", f"{broken}</main>"), encoding="utf-8")
    with pytest.raises(AssertionError, match=fault): is_sound(hurt, tmp_path)


def test_two_runs_on_one_page(tiny, tmp_path):
    "The comparison of two real tiny runs: a copy whose seed and answers were changed, through the command line."
    import pandas as pd
    other = copied(tiny, tmp_path/"other")
    (other/"config.yaml").write_text((other/"config.yaml").read_text(encoding="utf-8").replace("seed: 1\n", "seed: 2\n", 1), encoding="utf-8")
    answers = pd.read_parquet(other/"responses/grpo-rank.parquet")
    answers["completion"] = [f"<genes> [{gene}] </genes>" for gene in answers["causal_gene"]]
    answers.to_parquet(other/"responses/grpo-rank.parquet")
    done = subprocess.run([sys.executable, "-c", "from generank.cli import main; main()", "report", str(tiny), str(other), "--out", str(tmp_path/"page")],
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == tmp_path/"page/index.html"
    words = re.sub(r"</?em>", "", (tmp_path/"page/index.html").read_text(encoding="utf-8"))
    assert "2 runs, side by side" in words and re.search(r"<th[^>]*>seed</th><td[^>]*>1</td><td[^>]*>2</td>", words)
    assert re.search(r"grpo-rank of other <strong>ranks better than</strong> that of tiny", words)
    assert re.search(r"zero-shot of other <strong>is not shown to differ from</strong> that of tiny", words)
    assert is_sound((tmp_path/"page/index.html").resolve(), tmp_path) == {(tmp_path/"page/index.html").resolve()}


def test_the_notebooks_of_a_site_are_executed_side_by_side(tiny, tmp_path, monkeypatch):
    "One after the other, the first would wait for the second in vain."
    class Met(Exception): pass
    both = threading.Barrier(2, timeout=60)
    def execute(*_, **__):
        both.wait()
        raise Met
    monkeypatch.setattr("generank.report.execute", execute)
    with pytest.raises(Met): render_site(tiny, engine="nbconvert", site=tmp_path/"site")


def test_what_fails_in_a_notebook_is_not_laid_to_quarto(tmp_path, monkeypatch, caplog):
    def later(): raise FileNotFoundError("evaluation/metrics.json")
    monkeypatch.setattr("generank.report.quarto_pages", lambda pages, site, shared, later: later())
    with pytest.raises(FileNotFoundError, match="metrics.json"): save_pages({}, tmp_path/"site", "quarto", later=later)
    assert not caplog.records


def test_a_report_ends_at_once_when_it_is_stopped(tiny, tmp_path):
    "Ctrl-C in a terminal, while both notebooks are executed: their kernels go too."
    process = subprocess.Popen([GENERANK, "report", tiny, "--engine", "nbconvert"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))   # as from a terminal: in the background a shell has its commands ignore it
    kernels = lambda: [p for p in psutil.Process(process.pid).children() if "ipykernel_launcher" in " ".join(p.cmdline())]
    wait_for(lambda: len(kernels()) == 2, process)
    time.sleep(1)   # they are at work
    running = kernels()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1 and err == "Stopped.\n", err
    wait_for(lambda: not any(k.is_running() for k in running), seconds=10)


@pytest.mark.skipif(not shutil.which("quarto"), reason="Quarto is no Python package and optional; without it nbconvert makes the same pages, which the tests above look at")
def test_quarto_renders_it_without_a_complaint(tiny, page, tmp_path, caplog):
    by_quarto = render(tiny, engine="quarto", recorded_dir=str(tiny/"nothing-recorded"), site=tmp_path/"site")
    assert not [r for r in caplog.records if r.levelname in ("WARNING", "ERROR")], caplog.text
    assert {p.name for p in is_sound(by_quarto.resolve(), tmp_path)} == {p.name for p in by_quarto.parent.iterdir()} - {"search.html"} == {"index.html", "dataset.html"}
    html = by_quarto.read_text(encoding="utf-8")
    for words in ("and learns nothing", "No recorded result is present", 'download="main_comparison.csv"'): assert words in html
    for machinery in ("run_dir = Path", "records.answer(n", "echo: false"): assert machinery not in html, machinery


@pytest.mark.skipif(not shutil.which("quarto"), reason="Quarto is no Python package and optional; without it nbconvert makes the same pages, which the tests above look at")
def test_quarto_renders_the_whole_site(tiny, tmp_path, caplog):
    "One call makes all pages; those of the library share what Quarto brings, and open from disk."
    site = render_site(tiny, engine="quarto", recorded_dir=str(tiny/"nothing-recorded"), site=tmp_path/"site").parent
    assert not [r for r in caplog.records if r.levelname in ("WARNING", "ERROR")], caplog.text
    assert broken(site) == []
    assert {p.stem for p in (ROOT/"nbs").glob("*.ipynb")} | {"library", "speed", "log", "search"} == {p.stem for p in site.glob("*.html")}
    assert all('<meta name="generator" content="quarto' in p.read_text(encoding="utf-8") for p in site.glob("*.html") if p.stem != "search")
    assert (site/"index.html").stat().st_size > 2e6 > 1e6 > (site/"20_prompts.html").stat().st_size
    for name in ("20_prompts", "02_profile", "speed", "log", "library"): is_right(site/f"{name}.html", tmp_path)


def luminance(colour):
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    return sum(w * (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4) for w, c in zip((0.2126, 0.7152, 0.0722), parts))


def test_text_stands_out_from_the_paper():
    "WCAG AA: a contrast of at least 4.5 for every text colour of the page, in light and in dark."
    read = lambda name: (TEMPLATES/"report"/name).read_text(encoding="utf-8")
    inks = lambda css: re.findall(r"--accent: (#\w{6}); --soft: (#\w{6})", css)
    themes = [dict(re.findall(r"--(\w+): (#\w{6})", re.search(r":root \{([^}]*)\}", read(name))[1])) for name in ("page.css", "dark.css")]
    parts = inks(read("parts.css"))
    assert len(parts) == 2 and inks(read("dark.css")) == parts[1:]   # light, dark by Quarto's switch; and the same dark by ours
    for theme, inks in zip(themes, parts):
        for ink in (theme["ink"], theme["quiet"], theme["link"], *inks):
            for paper in (theme["paper"], theme["wash"]):
                low, high = sorted((luminance(ink), luminance(paper)))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper)


def test_the_readme_says_what_the_recorded_runs_say():
    from generank.recorded import between_marks, experiment, recorded_caption, recorded_result
    found = experiment()
    recorded = recorded_result(None, found)
    page = (ROOT/"README.md").read_text()
    assert page == between_marks(page, recorded_caption(recorded, found)), "README.md differs from results/: run `make figure`"


def test_the_first_runs_page_needs_no_run_and_no_network(tmp_path):
    page = render_page("published", tmp_path/"site", engine="nbconvert", draws=200)
    html = page.read_text(encoding="utf-8")
    assert [p.name for p in page.parent.iterdir()] == ["published.html"] and loads(html) == [] and set(re.findall(r"<script.*?</script>", html, re.S)) == SCRIPTS
    images = re.findall(r"<img\b[^>]*>", html)
    assert len(images) == 7 and all(re.search(r'\balt="[^"]{60,}"', i) for i in images)
    assert html.count("The table behind it.") == 7
    for told in ("34 loci are right by “8B, rank reward” alone, 28 by “70B, untrained” alone", "17 loci are right by “8B, rank reward” alone, 38 by “70B, untrained” alone", "0.2454", "0.5018", "0.4799", "0.3956"): assert told in html, told
    assert str(ROOT) not in html and str(tmp_path) not in html
