"""scripts/gene_tables.py: the bundled tables of genes from miniature packages in ideogram's layout."""
import gzip, importlib.util, sys, tarfile, tempfile
from pathlib import Path

import pandas as pd
import pytest
from fastcore.test import test_eq as eq, test_fail as fail

from generank.core import UserError, read_json
from generank.genes import BUNDLED, load_genes

SPEC = importlib.util.spec_from_file_location("gene_tables", Path(__file__).resolve().parents[1]/"scripts"/"gene_tables.py")
made = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(made)
TABLE = made.GENES_TSV
eq.__test__ = fail.__test__ = False


def mini_ideogram(folder, **tables):
    "A package in ideogram's layout: the text of each table by the first part of its name."
    for name in made.IDEOGRAM_TABLES:
        path = Path(folder)/"dist"/"data"/"cache"/name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(tables.get(name.split("/")[0].replace("-", "_"), "# none\n").encode(), mtime=0))
    return Path(folder)


def test_classes_and_strands():
    rows = [["A-1-201", "0", "0", "+"], ["B-201", "0", "1", "-"], ["C-201", "0", "0", "-"], ["C-202", "0", "0", "+"]]
    eq(made.coding_symbols(rows).fillna("?").to_dict(), {"A-1": "+", "C": "?"})
    with tempfile.TemporaryDirectory() as d:
        mini = mini_ideogram(Path(d)/"package", genes="## Ideogram.js gene cache\n# chr\tstart\tlength\tslim_id\tsymbol\tdescription\n"
            "17\t43044295\t125950\t12048\tBRCA1\tBRCA1 DNA repair associated\t\t\n12\t25205246\t45690\t133703\tKRAS\tKRAS proto-oncogene%2C GTPase\t\t\n"
            "8\t127794526\t308196\t249859\tPVT1\tPvt1 oncogene\t\t\n", gene_structures="# transcript_name\nBRCA1-203\t0\t0\t-\t1;0;9\nBRCA1-204\t5\t1\t-\t1;0;9\nKRAS-201\t0\t0\t-\t1;0;9\n")
        with tarfile.open(f"{d}/p.tgz", "w:gz") as tar: tar.add(mini, "package")
        three = made.build_genes(f"{d}/p.tgz", verify=False)
        pd.testing.assert_frame_equal(made.build_genes(d, verify=False), three)       # a folder that holds `package`
        fail(lambda: made.build_genes(mini), contains="is not the pinned file")
    eq(three[["symbol", "biotype"]].values.tolist(), [["PVT1", "other"], ["KRAS", "protein_coding"], ["BRCA1", "protein_coding"]])
    eq(three.set_index("symbol").loc["BRCA1", ["ensembl_id", "start", "end", "strand"]].tolist(), ["ENSG00000012048", 43044295, 43170245, "-"])
    eq(three.set_index("symbol").description["KRAS"], "KRAS proto-oncogene, GTPase")


def test_synonyms():
    with tempfile.TemporaryDirectory() as d:
        mini_ideogram(d, synonyms="## cache\n# symbol\tsynonyms\nIL6\tHGF\tIL-6\nHGF\tSF\nGONE\tX1\nSLC1\tSF\n")
        found = made.build_synonyms(d, pd.DataFrame({"symbol": ["IL6", "HGF", "SLC1"]}), verify=False)
    eq(found.values.tolist(), [["IL-6", "IL6"], ["SF", "HGF"], ["SF", "SLC1"]])


def test_order_by_interest():
    for chromosomes, ordered in [(["2", "1", "17", "1", "1", "2", "17"], 3), (["1", "1", "2"], 0), (["2", "1", "2", "1", "2"], 3)]: eq(made.count_ordered(chromosomes), ordered)
    with tempfile.TemporaryDirectory() as d:
        lines = ["17\t9\t1\t5\tTP53\t", "2\t9\t1\t6\tIL1B\t", "1\t9\t1\t7\tKIF1B\t", "2\t9\t1\t8\tSP5\t", "17\t3\t1\t9\tMYO19\t"]
        eq(made.build_interest(mini_ideogram(d, genes="\n".join(lines)), verify=False).values.tolist(), [["TP53", 1], ["IL1B", 2]])
        fail(lambda: made.build_interest(mini_ideogram(d, genes="\n".join(lines[2:4])), verify=False), contains="no order by interest")


def test_fetched_by_the_readers_npm(tmp_path):
    fake = tmp_path/"npm"
    fake.write_text('#!/bin/sh\necho "$@" > ideogram-1.53.0.tgz\n')
    fake.chmod(0o755)
    assert made.fetch_ideogram(tmp_path/"out", npm=str(fake)).read_text() == "pack ideogram@1.53.0 --silent\n"


def program(folder, text):
    (folder/"npm").write_text(text)
    (folder/"npm").chmod(0o755)
    return str(folder/"npm")


@pytest.mark.parametrize("files, refuse, said", [
    ({}, lambda d: made.fetch_ideogram(d/"out", npm="no-such-npm"), "no-such-npm is not installed: install Node.js"),
    ({}, lambda d: made.fetch_ideogram(d/"out", npm=program(d, "#!/bin/sh\necho 'npm error network' >&2; exit 1\n")), "failed (npm error network): check the network"),
    ({}, lambda d: made.ideogram_table(d/"p", TABLE), "p does not exist: give the folder or tarball of ideogram@"),
    ({"p/package.json": b"{}"}, lambda d: made.ideogram_table(d/"p", TABLE), f"p holds no dist/data/cache/{TABLE}: is it the npm package ideogram@"),
    ({"p.tgz": b"text"}, lambda d: made.ideogram_table(d/"p.tgz", TABLE), "p.tgz is not a tarball: give the folder or .tgz"),
    ({f"p/dist/data/cache/{TABLE}": gzip.compress(b"# none\n")}, lambda d: made.ideogram_table(d/"p", TABLE), f"p:dist/data/cache/{TABLE} is not the pinned file (sha256 ")])
def test_another_package_is_refused(files, refuse, said, tmp_path):
    for name, content in files.items():
        (tmp_path/name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/name).write_bytes(content)
    with pytest.raises(UserError) as told: refuse(tmp_path)
    assert said in str(told.value)


def test_offline_it_is_not_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("GENERANK_OFFLINE", "1")
    with pytest.raises(UserError) as told: made.fetch_ideogram(tmp_path, npm="true")
    assert "GENERANK_OFFLINE=1 forbids a connection to" in str(told.value)


def test_the_committed_cards_are_of_the_pinned_package():
    card = read_json(BUNDLED/"genes.json")
    assert made.gene_counts(load_genes()) == card["counts"]
    origins = [read_json(BUNDLED/f"{name}.json")["origin"] for name in ("genes", "synonyms", "interest")]
    assert {o["package"] for o in origins} == {made.IDEOGRAM}
    assert origins[0]["tables_sha256"] | origins[1]["tables_sha256"] == made.IDEOGRAM_TABLES


def test_the_build_writes_tables_and_cards(tmp_path, monkeypatch):
    package = mini_ideogram(tmp_path/"package", synonyms="IL1B\tIL1F2\n", gene_structures="IL1B-201\t0\t0\t-\n",
                            genes="\n".join(["17\t9\t1\t5\tTP53\t", "2\t9\t1\t6\tIL1B\t", "17\t3\t1\t9\tMYO19\t"]))
    monkeypatch.setattr(made, "ideogram_table", lambda source, name, verify=True, read=made.ideogram_table: read(source, name, verify=False))
    assert made.main(package, tmp_path) == tmp_path
    assert pd.read_parquet(tmp_path/"genes.parquet").symbol.tolist() == ["IL1B", "MYO19", "TP53"]
    cards = {n: read_json(tmp_path/f"{n}.json") for n in ("genes", "synonyms", "interest")}
    assert [cards["genes"]["counts"]["genes"], cards["synonyms"]["rows"], cards["interest"]["rows"]] == [3, 1, 1]
    assert cards["synonyms"]["title"] == "Former and other names of human genes"
