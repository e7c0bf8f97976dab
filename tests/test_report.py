"""The report as a reader gets it: rendered from a real tiny run, then from the same run with another result."""
import base64
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml

from generank.core import UserError, read_json, write_json, write_text
from generank.pipeline import run
from generank.report import loads, render, render_page

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    "A finished tiny run, without its report."
    folder = tmp_path_factory.mktemp("report")/"tiny"
    run("tiny", folder, render=lambda run_dir: write_text(run_dir/"site/index.html", ""))
    shutil.rmtree(folder/"site")
    return folder


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
    assert "<script" not in html
    assert sorted(p.name for p in each.parent.iterdir()) == ["dataset.html", "index.html"]


def test_every_picture_has_words_and_every_link_a_target(each):
    html = each.read_text(encoding="utf-8")
    images = re.findall(r"<img\b[^>]*>", html)
    assert len(images) >= 4 and all(re.search(r'\balt="[^"]{20,}"', i) for i in images)
    assert all('aria-label="' in s for s in re.findall(r"<svg\b[^>]*>", html))
    targets = set(re.findall(r'\bid="([^"]+)"', html))
    assert {a for a in re.findall(r'href="#([^"]+)"', html)} <= targets
    local = [a for a in re.findall(r'href="([^"]+)"', html) if not a.startswith(("#", "data:", "https://"))]
    assert local == [{"index.html": "dataset.html", "dataset.html": "index.html"}[each.name]]


def test_the_table_behind_a_figure_comes_with_the_page(page, tiny):
    html = page.read_text(encoding="utf-8")
    found = dict(re.findall(r'<a download="([^"]+)" href="data:text/csv;base64,([^"]+)"', html))
    assert {"main_comparison.csv", "top_k.csv", "locus.csv", "nearness.csv"} <= set(found)
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
    (0.3, "Yes: under reinforcement", "ranks better than the one that it started from"),
    (0.0, "Not shown: under reinforcement", "No difference between"),
    (-0.3, "No, it got worse: under reinforcement", "ranks worse than the one that it started from")])
def test_sentences_follow_the_result(tiny, tmp_path, difference, answer, sentence):
    def change(found):
        for row in found["primary"]:
            if {row["a"], row["b"]} == {"grpo-rank", "warm-start"}: row.update(difference=difference, ci_low=difference - 0.1, ci_high=difference + 0.1)
    html = render(changed(tiny, tmp_path/"run", change), engine="nbconvert", recorded_dir=str(tmp_path/"nothing")).read_text(encoding="utf-8")
    assert answer in html and sentence in html
    answers = {"Yes: under reinforcement", "Not shown: under reinforcement", "No, it got worse: under reinforcement"}
    assert {a for a in answers if a in html} == {answer}


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
    with pytest.raises(UserError, match="has no value at 'runs.grpo-rank.mrr'"):
        render(folder, engine="nbconvert", recorded_dir=str(tmp_path/"nothing"))
    assert not (folder/"site/index.html").exists()


def test_page_opens_in_a_browser_without_complaint(each, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None: pytest.skip("no Chromium here to open the page with")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--enable-logging=stderr", f"--user-data-dir={tmp_path/'profile'}", "--window-size=390,900", "--dump-dom", each.as_uri()]
    done = subprocess.run([browser, *flags], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert "CONSOLE" not in done.stderr, [l for l in done.stderr.splitlines() if "CONSOLE" in l]
    assert "<h1" in done.stdout


def luminance(colour):
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    return sum(w * (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4) for w, c in zip((0.2126, 0.7152, 0.0722), parts))


def test_text_stands_out_from_the_paper():
    "WCAG AA: a contrast of at least 4.5 for every text colour of the page, in light and in dark."
    css = (ROOT/"generank/templates/report/page.css").read_text(encoding="utf-8")
    accents = re.findall(r"--accent: (#\w{6})", (ROOT/"generank/templates/report/parts.css").read_text(encoding="utf-8"))
    themes = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{([^}]*)\}", css)]
    assert len(themes) == len(accents) == 2
    for theme, accent in zip(themes, accents):
        for ink in (theme["ink"], theme["quiet"], theme["link"], accent):
            for paper in (theme["paper"], theme["wash"]):
                low, high = sorted((luminance(ink), luminance(paper)))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper)


def test_the_readme_says_what_the_recorded_runs_say():
    from generank.story import between_marks, recorded_caption, recorded_result
    recorded = recorded_result() or recorded_result(ROOT/"results/laptop")
    page = (ROOT/"README.md").read_text()
    assert page == between_marks(page, recorded_caption(recorded)), "README.md differs from results/: run `make figure`"


def test_the_first_runs_page_needs_no_run_and_no_network(tmp_path):
    page = render_page("published", tmp_path/"site", engine="nbconvert", draws=200)
    html = page.read_text(encoding="utf-8")
    assert [p.name for p in page.parent.iterdir()] == ["published.html"] and loads(html) == [] and "<script" not in html
    images = re.findall(r"<img\b[^>]*>", html)
    assert len(images) == 7 and all(re.search(r'\balt="[^"]{60,}"', i) for i in images)
    assert html.count("The table behind it.") == 7
    for told in ("34 loci only the former, 28 only the latter", "17 loci only the former, 38 only the latter", "0.2454", "0.5018", "0.4799", "0.3956"): assert told in html, told
    assert str(ROOT) not in html and str(tmp_path) not in html
