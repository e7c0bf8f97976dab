"""Files that geneticists have, in small and retyped: each gives the right loci, at the right places, and says what it left out."""
import gzip
import json
import re
import sys
import zipfile
from pathlib import Path

import openpyxl
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from generank.cli import main
from generank.core import UserError
from generank.genes import load_genes
from generank.readers import OUR_COLUMNS, check_json, read_loci

GENES = load_genes()
CASES = Path(__file__).resolve().parents[2]/"shared"/"cases"
CATALOG = ["DATE", "DISEASE/TRAIT", "CHR_ID", "CHR_POS", "MAPPED_GENE", "SNPS", "P-VALUE", "PVALUE_MLOG", "MAPPED_TRAIT"]
HITS = [("LDL cholesterol levels", "1", "55039974", "PCSK9", "rs11591147", "1E-300"), ("Type 2 diabetes", "10", "112998590", "TCF7L2", "rs7903146", "0"),
        ("Alzheimer's disease (late onset), APOE x BIN1", "19 x 2", "44908684 x 127135234", "APOE x BIN1", "rs429358 x rs6733839", "2E-9"),
        ("Body mass index", "16;16", "53767042;53786615", "FTO;FTO", "rs1421085;rs9939609", "4E-12"), ("Height", "", "", "", "chr2:12345", "5E-8"),
        ("Crohn's disease", "1", "67240275", "IL23R", "rs11209026", "6E-28"), ("Crohn's disease", "1", "67240275", "IL23R", "rs11209026", "8E-19")]
FUMA = ("GenomicLocus\tuniqID\trsID\tchr\tpos\tp\tstart\tend\tIndSigSNPs\tnLeadSNPs\n1\t1:55505647:G:T\trs11591147\t1\t55505647\t1.2e-90\t55400112\t55600871\trs11591147;rs2479409\t1\n"
        "3\t19:45411941:C:T\trs429358\t19\t45411941\t0\t45351516\t45450000\trs429358\t1\n4\t23:153764217:C:T\trs1050828\t23\t153764217\t5.1e-12\t153700000\t153800000\trs1050828\t1\n")
PLACES = [("1", 55039974), ("19", 44908684), ("X", 154536002)]
VCF = ("##fileformat=VCFv4.2\n##contig=<ID=1,length=249250621,assembly=HG19/GRCh37>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tieu-a-1\n"
       "1\t55505647\trs11591147\tG\tT\t.\tPASS\tAF=0.1\tES:SE:LP\t-0.4:0.02:90\n19\t45411941\trs429358\tC\tT\t.\tPASS\tAF=0.1\tES:SE:LP\t0.4:0.02:2\n")
FILES = {  # kind: (text, options, format, build, places, words of the notes and rejects)
    "GWAS Catalog": ("\t".join(CATALOG) + "\n" + "".join(f"2026-01-05\t{t}\t{c}\t{p}\t{g}\t{s}\t{v}\t12.0\t{t.lower()}\n" for t, c, p, g, s, v in HITS), {}, "GWAS Catalog associations", "GRCh38",
                     [("1", 55039974), ("10", 112998590), ("1", 67240275)], ["line 8 with 7", "4: several variants", "5: several variants", "6: no position"]),
    "FUMA": (FUMA, dict(trait="LDL"), "FUMA", "GRCh37", PLACES, []),
    "PLINK 1": (" CHR    F         SNP         BP        P    TOTAL   NSIG    S05  SP2 \n   1    1  rs11591147   55505647   1e-90       5      0      1  rs2(1) \n\n", dict(trait="LDL", build="hg19"), "PLINK clumps", "GRCh37", PLACES[:1], []),
    "PLINK 2": ("#CHROM\tPOS\tID\tP\tTOTAL\tNONSIG\tS0.05\tSP2\n19\t44908684\trs429358\t1e-300\t3\t0\t1\t.\n", dict(trait="AD"), "PLINK clumps", "GRCh38", PLACES[1:2], []),
    "COJO": ("Chr\tSNP\tbp\trefA\tfreq\tb\tse\tp\tn\tfreq_geno\tbJ\tbJ_se\tpJ\tLD_r\n23\trs1050828\t153764217\tT\t0.1\t0.1\t0.01\t1e-20\t1000\t0.1\t0.1\t0.01\t1e-20\t0\n", dict(trait="HbA1c"), "COJO", "GRCh37", PLACES[2:], []),
    "FinnGen SuSiE": ("trait\tregion\tv\trsid\tchromosome\tposition\tp\tprob\tcs\nLDL\tchr1:1-2\t1:55039974:G:T\trs11591147\tchr1\t55039974\t3e-99\t0.88\t1\nLDL\tchr1:1-2\t1:55039000:G:T\trs2\tchr1\t55039000\t1e-9\t0.09\t1\n"
                      "LDL\tchr1:1-2\t1:55000000:G:T\trs3\tchr1\t55000000\t0.9\t0.0001\t-1\nLDL\tchr23:1-2\tX:154536002:C:T\trs1050828\tchr23\t154536002\t2e-20\t0.99\t1\n", {}, "FinnGen SuSiE", "GRCh38", [PLACES[0], PLACES[2]],
                      ["4 rows hold 2 credible sets", "1 row belongs to no set"]),
    "FINEMAP": ("# Post-Pr(# of causal SNPs is 2) = 0.81\n#log10bf 16.92 NA 9.1 NA\nindex cred1 prob1 cred2 prob2\n1 1:55505647:G_T 0.91 19:45411940:A_G 0.04\n2 1:55496039:T_C 0.05 19:45411941:C_G 0.31\n3 NA NA 19:45412000:A_G 0.2\n",
                dict(trait="LDL", build="GRCh37"), "FINEMAP", "GRCh37", PLACES[:2], ["5 rows hold 2 credible sets"]),
    "PolyFun": ("locus,chr,bp,pip,c_gene,rsid\na,1,55505647,0.999999999999979,ENSG00000169174,rs11591147\nb,19,45411941,0.7,NA,rs429358\nb,19,45412079,0.2,NA,rs7412\n", dict(trait="LDL"), "CALDERA or PolyFun credible sets", "GRCh37", PLACES[:2], ["3 rows hold 2"]),
    "susieR": ("variable,variable_prob,cs\n1:55039974:G:T,0.9,1\n1:55039000:G:T,0.1,1\n19:44908684:C:T,0.5,2\n", dict(trait="LDL"), "credible sets", "GRCh38", PLACES[:2], []),
    "METAL": ("MarkerName\tAllele1\tAllele2\tEffect\tStdErr\tP-value\tDirection\nchr1:55039974:G:T\tt\tg\t0.1\t0.1\t1e-400\t++\nrs429358\tt\tc\t0.1\t0.1\t0.2\t+-\n", dict(trait="LDL"), "METAL", "GRCh38", PLACES[:2], ["Not genome-wide significant (p > 5e-8): 1 of 2 loci"]),
    "METAL by place": ("MarkerName\tAllele1\tAllele2\tEffect\tStdErr\tP-value\tDirection\n1:55505647\tt\tg\t0.4\t0.01\t1e-305\t++\n19:45411941:SNP\tt\tc\t0.4\t0.01\t0\t++\n1:55600000\tt\tc\t0.4\t0.01\t0\t++\n", dict(trait="LDL"), "METAL", "GRCh37", [*PLACES[:2], ("1", 55134327)], []),
    "BED": ("chrom\tstart\tend\ttrait\nchr1\t55039973\t55039974\tLDL\nchr19\t44900000\t44917368\tAD\n", {}, "table", "GRCh38", PLACES[:2], ["placed in the middle of its start and end"]),
    "regenie": ("CHROM GENPOS ID ALLELE0 ALLELE1 A1FREQ BETA SE CHISQ LOG10P EXTRA\n1 55039974 rs11591147 G T 0.1 0.1 0.1 40 12.5 NA\n", dict(trait="LDL"), "regenie", "GRCh38", PLACES[:1], []),
    "BOLT": ("SNP\tCHR\tBP\tGENPOS\tALLELE1\tP_BOLT_LMM_INF\nrs11591147\t1\t55505647\t0.8123\tT\t1e-90\n", dict(trait="LDL"), "BOLT-LMM", "GRCh37", PLACES[:1], []),
    "GWAS-VCF": (VCF, dict(trait="LDL"), "GWAS-VCF", "GRCh37", PLACES[:2], ["Not genome-wide significant (p > 5e-8): 1 of 2 loci"]),
    "rsIDs only": ("trait,SNP\nLDL,rs11591147\nAD,rs429358\n", {}, "table", "GRCh38", PLACES[:2], []),
    "accessions": ("trait\tchrom\tpos\nLDL\tNC_000001.10\t55505647\nAD\tNC_000019.9\t45411941\n", {}, "table", "GRCh37", PLACES[:2], []),
    "header tells the build": ("Trait;Chr;Position_hg19\nLDL;1;55505647\n", {}, "table", "GRCh37", PLACES[:1], []),
    "variants": ("trait,variant\na,1_55039974_G_T\nb,chr1:g.55039974G>T\nc,rs11591147\nd,1:55039974\ne,rs1234567890\n", {}, "table", "GRCh38", PLACES[:1] * 4, ["6: no position"]),
    "two rows of one rsID": ("trait,chrom,pos,rsid\na,1,55039974,rs9\nb,1,55505647,rs9\n", {}, "table", "GRCh38", [("1", 55039974), ("1", 55505647)], ["rs9 stands at 2 places, those of two assemblies"]),
    "wrong build given": ("trait,chrom,pos,rsid\na,1,55505647,rs11591147\n", dict(build="GRCh38"), "table", "GRCh38", [("1", 55505647)], ["lie where GRCh37 has them (1): check --build"]),
    "labelled on GRCh37": ("trait,chrom,pos,causal_gene\nAD,19,45411941,APOE\nLDL,1,55505647,PCSK9\n", {}, "table", "GRCh37", [PLACES[1], PLACES[0]], []),
    "German Excel": ("\ufeffTrait;Chrom;Pos;p-Wert;Kandidaten\r\nLDL;1;5,5E+07;1,2E-90;\r\nT2D;chr10;112.998.590;3,4E-60;\r\nHeight;5;1.31594E+08;2,0E-12;\r\nG6PD;X;154536002,0;5,1E-12;\r\n\r\n", {}, "table", "GRCh38",
                     [("10", 112998590), ("X", 154536002)], ["2: position 5,5E+07 has too few digits", "4: position 1.31594E+08 has too few"]),
    "old Mac": ("trait,chrom,pos\rLDL,1,55039974\rAD,19,44908684\r", {}, "table", "GRCh38", PLACES[:2], []),
    "Latin-1": ("trait,chrom,pos\nSjögren's syndrome,1,55039974\n".encode("latin-1"), {}, "table", "GRCh38", PLACES[:1], ["was read as cp1252"]),
    "UTF-16": ("trait\tchrom\tpos\nSjögren\t1\t55039974\n".encode("utf-16"), {}, "table", "GRCh38", PLACES[:1], []),
    "chromosomes": ("trait,chrom,pos\na,CHR01,55039974\nb,1.0,\"55,039,974\"\nc,23,154536002\nd,26,5000\ne,chr6_GL000256v2_alt,5\nf,1p32.3,55039974\ng,1,55.04\nh,1,2.24e+14\ni,1,55\n", {}, "table", "GRCh38",
                    [PLACES[0], PLACES[0], PLACES[2], ("MT", 5000)], ["6: 'chr6_GL000256v2_alt' is an alternate", "7: '1p32.3' is a band", "8: position 55.04 is no whole", "9: position 2.24e+14 is beyond the end of chromosome 1 (248,956,422 bp on GRCh38, assumed)", "10: position 55 lies where"]),
    "megabases": ("trait\tchr\tPosition (Mb)\nLDL\t1\t55.039974\n", {}, "table", "GRCh38", PLACES[:1], []),
    "R": ('"trait" "chrom" "pos"\n"1" "LDL cholesterol" 1 55039974\n"2" "AD" 19 44908684\n', {}, "table", "GRCh38", PLACES[:2], []),
    "title and comments": ("Supplementary Table 3: lead SNPs, position and trait\n\n#made by hand\ntrait,chrom,pos,\nLDL,1,55039974,\n# end\n", {}, "table", "GRCh38", PLACES[:1], []),
    "Open Targets lines": ('{"studyLocusId": "a", "studyId": "GCST1", "variantId": "1_55039974_G_T", "chromosome": "1", "position": 55039974, "locus": [{"variantId": "x"}]}\n'
                           '{"studyLocusId": "b", "studyId": "e", "studyType": "eqtl", "variantId": "1_101116249_ATT_A", "chromosome": "1", "position": 101116249, "locus": []}\n', dict(trait="LDL"),
                           "Open Targets credible sets", "GRCh38", PLACES[:1], ["2: a molecular QTL study (eqtl)"])}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_each_kind(kind, tmp_path):
    text, options, form, build, places, words = FILES[kind]
    data = text if isinstance(text, bytes) else text.encode()
    said = []
    for name, content in (("loci.txt", data), ("loci", gzip.compress(data))):
        (tmp_path/name).write_bytes(content)
        found = read_loci(tmp_path/name, genes=GENES, **options)
        assert (found.format, found.build) == (form, build), found.understood
        assert sorted(zip(found.loci.chrom, found.loci.pos)) == sorted(places)
        assert found.loci.columns[:len(OUR_COLUMNS)].tolist() == OUR_COLUMNS and found.understood.count("\n") == 0 and f"build {build} (" in found.understood
        said = [*found.notes, *(f"{r.line}: {r.reason}" for r in found.rejected.itertuples()), *found.loci["flags"].explode().dropna()]
        for word in words: assert any(word in s for s in said), (word, said)


GENE_LISTS = {"PCSK9;USP24;BSND": "BSND PCSK9 USP24", "PCSK9|USP24|HLA-A": "HLA-A PCSK9 USP24", "PCSK9/USP24/BSND": "BSND PCSK9 USP24", "PCSK9 USP24 BSND": "BSND PCSK9 USP24", "PCSK9 - USP24 - BSND": "BSND PCSK9 USP24",
              "pcsk9, Usp24, PCSK9": "PCSK9 USP24", "ENSG00000169174.11, ENSG00000162402": "PCSK9 USP24", "C10orf54, PVRL2, FAM46A": "NECTIN2 TENT5A VSIR", "2-Sep, 4. Mrz, 02.09.2023, APOE": "APOE MARCHF4 SEPTIN2",
              "Sep-02, 2001-03-04 00:00:00, 45171": "MARCHF4 SEPTIN2", "PCSK9, FOO1, #N/A, -, NA": "FOO1 PCSK9", "MALAT1, LINC01133": "LINC01133 MALAT1"}


@pytest.mark.parametrize("given_list", GENE_LISTS)
def test_a_list_of_genes_in_any_writing(given_list, tmp_path):
    f = tmp_path/"genes.csv"
    f.write_text(f'trait,candidates\nLDL,"{given_list}"\n', encoding="utf-8")
    locus = read_loci(f, genes=GENES).loci.iloc[0]
    assert " ".join(locus.candidates) == GENE_LISTS[given_list]
    told = " ".join(locus["flags"])
    for name in re.split(r"[,;|/ ]+(?!Mrz|00)", given_list):
        if name not in locus.candidates and name.strip("#-").casefold() not in ("", "na", "n", "a"): assert name in told, (name, told)
    assert ("unknown symbols: FOO1" in told) == ("FOO1" in given_list) and ("not protein-coding" in told) == ("MALAT1" in given_list)


def test_one_gene_a_row_and_their_scores(tmp_path):
    f = tmp_path/"l2g.tsv"
    f.write_text("studyLocusId\tgeneId\tscore\tgeneSymbol\na\tENSG00000169174.9\t0.98\tPCSK9\na\tENSG00000162402\t0.05\tUSP24\nb\tENSG00000130203\t0.9\tAPOE\n")
    found = read_loci(f, trait="LDL", genes=GENES)
    (tmp_path/"gene.csv").write_text('Trait;Gene\nGout;"ABCG2; PKD2"\nHeight;"01. Mrz;APOE"\n')   # a list under a name for one gene
    assert read_loci(tmp_path/"gene.csv", genes=GENES).loci.candidates.tolist() == [["ABCG2", "PKD2"], ["APOE", "MARCHF1", "MTARC1"]]
    assert found.loci[["locus_id", "candidates", "scores"]].values.tolist() == [["a", ["PCSK9", "USP24"], {"l2g": {"PCSK9": 0.98, "USP24": 0.05}}]]
    assert found.rejected.reason.tolist() == ["one candidate gene (APOE) leaves nothing to rank"]


def test_the_borders_of_a_fuma_locus_hold_its_candidates(tmp_path):
    f = tmp_path/"GenomicRiskLoci.txt"
    f.write_text(FUMA + "5\t10:114758349:C:T\trs7903146\t10\t114758349\t3e-60\t114700001\t114810500\trs7903146\t1\n6\t6:32609813:G:T\trs1\t6\t32609813\t1e-9\t25000000\t34000000\trs1\t1\n"
                 "7\t1:55505647:G:T\trs2\t1\t55505648\t1e-9\t55600871\t55400112\trs2\t1\n")
    found = read_loci(f, trait="LDL", genes=GENES)
    lists = dict(zip(found.loci.rsid, found.loci.candidates))
    assert lists["rs11591147"] == ["BSND", "PCSK9", "TMEM61", "USP24"] and "candidates are the genes between start and end" in found.understood
    for gene, start, end in GENES[GENES.symbol.isin(lists["rs11591147"])][["symbol", "start", "end"]].values: assert start <= 55600871 - 465673 and end >= 55400112 - 465673, gene
    assert lists["rs7903146"] == ["TCF7L2", "VTI1A"]   # one gene between the borders leaves nothing to rank
    told = dict(zip(found.loci.rsid, found.loci["flags"].map(" ".join)))
    assert "TCF7L2 alone lies between its start and end: the genes within 500,000 bp were taken" in told["rs7903146"] and "9,000,000 bp apart" in told["rs1"] and not told["rs11591147"]
    assert found.rejected[["line", "reason"]].values.tolist() == [[7, "its start 55,600,871 and end 55,400,112 do not hold its lead variant at 55,505,648"]]
    assert len(read_loci(f, trait="LDL", genes=GENES, window=500_000).loci.candidates[0]) == 12


SETS = [{"studyLocusId": "a", "studyId": "GCST1", "variantId": "1_55039974_G_T", "chromosome": "1", "position": 55039974, "pValueMantissa": 1.2, "pValueExponent": -90, "locusStart": 54539974, "locusEnd": 55539974,
         "credibleSetIndex": 1, "locus": [{"variantId": "1_55039974_G_T", "posteriorProbability": 0.95}], "studyType": "gwas", "isTransQtl": False},
        {"studyLocusId": "b", "studyId": "GCST1", "variantId": "19_44908684_T_C", "chromosome": "19", "position": 44908684, "pValueMantissa": 3.0, "pValueExponent": -5, "locus": [], "studyType": "gwas", "isTransQtl": False},
        {"studyLocusId": "c", "studyId": "UKB_PPP", "variantId": "19_44908684_T_C", "chromosome": "19", "position": 44908684, "locus": [], "studyType": "pqtl", "isTransQtl": True}]
L2G = [("a", "ENSG00000169174", 0.93), ("a", "ENSG00000162402", 0.03), ("a", "ENSG00000130203", 0.02), ("b", "ENSG00000130203", 0.9)]


def test_open_targets_credible_sets_joined_with_l2g(tmp_path):
    sets, l2g, pops = tmp_path/"credible_set.jsonl", tmp_path/"l2g_prediction.jsonl", tmp_path/"pops.preds"
    sets.write_text("\n".join(map(json.dumps, SETS)))
    l2g.write_text("\n".join(json.dumps({"studyLocusId": i, "geneId": g, "score": s, "features": [{"name": "x", "value": 1}], "shapBaseValue": -2.1}) for i, g, s in L2G))
    found = read_loci(sets, trait="LDL", scores=l2g, genes=GENES)
    assert found.loci.scores.tolist() == [{"l2g": {"PCSK9": 0.93, "USP24": 0.03, "APOE": 0.02}}, {"l2g": {"APOE": 0.9}}] and found.rejected.line.tolist() == [3]
    assert found.loci["flags"].tolist() == [["scored, but no candidates: APOE"], ["not genome-wide significant: p = 3e-05"]]
    alone = read_loci(l2g, trait="LDL", genes=GENES)
    assert alone.loci[["locus_id", "candidates"]].values.tolist() == [["a", ["APOE", "PCSK9", "USP24"]]] and alone.loci.scores[0] == found.loci.scores[0]
    pops.write_text("ENSGID\tPoPS_Score\nENSG00000169174.9\t1.5\nENSG00000130203\t-0.5\nENSG00000146648\t9\n")   # of all genes, for every locus
    assert read_loci(sets, trait="LDL", scores=pops, genes=GENES).loci.scores.tolist() == [{"PoPS_Score": {"PCSK9": 1.5}}, {"PoPS_Score": {"APOE": -0.5}}]
    pops.write_text("studyLocusId\tgeneId\tscore\nz\tENSG00000169174\t1\n")
    with pytest.raises(UserError, match="pops.preds scores none of these loci: its ids are as z, theirs as a"): read_loci(sets, trait="LDL", scores=pops, genes=GENES)
    with pytest.raises(UserError, match="is no table of scores"): read_loci(sets, trait="LDL", scores=sets, genes=GENES)


def test_an_answer_of_open_targets_api(tmp_path):
    rows = [{"studyLocusId": "s1", "study": {"id": "G1", "traitFromSource": "LDL", "diseases": [{"id": "EFO_1", "name": "x"}]}, "variant": {"id": "1_55039974_G_T", "chromosome": "1", "position": 55039974, "rsIds": ["rs11591147"]},
             "l2GPredictions": {"rows": [{"score": 0.98, "target": {"id": "ENSG00000169174", "approvedSymbol": "PCSK9"}}]}},
            {"studyLocusId": "s2", "study": {"id": "G2", "traitFromSource": None, "diseases": [{"name": "gout"}, {"name": "urate"}]}, "variant": {"id": "4_88131171_G_T", "chromosome": "4", "position": 88131171, "rsIds": []}}]
    (tmp_path/"sets.json").write_text(json.dumps({"data": {"credibleSets": {"count": 2, "rows": rows}}}))
    loci = read_loci(tmp_path/"sets.json", genes=GENES).loci
    assert loci[["locus_id", "trait", "chrom", "pos", "rsid"]].values.tolist() == [["s1", "LDL", "1", 55039974, "rs11591147"], ["s2", "gout / urate", "4", 88131171, None]]
    assert loci.scores[0] == {"l2g": {"PCSK9": 0.98}}


def test_excel_zip_and_parquet(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["About this table"])
    sheet = book.create_sheet("Loci")
    for row in (["Table 1"], [], ["Trait", "Chr", "Position", "Candidates", "score"], ["LDL", 1, 55039974, None, 2.5], ["Height", None, None, "2-Sep, APOE", 1], ["BMI", 16, 53.7, None, 1]): sheet.append(row)
    book.save(tmp_path/"loci.xlsx")
    found = read_loci(tmp_path/"loci.xlsx", genes=GENES)
    assert found.loci.trait.tolist() == ["LDL", "Height"] and found.loci.candidates[1] == ["APOE", "SEPTIN2"] and found.loci.score.tolist() == ["2.5", "1"]
    assert found.rejected.line.tolist() == [6] and "'Loci' was read" in found.notes[0]
    with zipfile.ZipFile(tmp_path/"loci.zip", "w") as z: z.writestr("loci.csv", "trait,chrom,pos\nLDL,1,55039974\n")
    pd.DataFrame({"trait": ["LDL"], "chrom": [1], "pos": [55039974.0]}).to_parquet(tmp_path/"loci")
    for name in ("loci.zip", "loci"): assert read_loci(tmp_path/name, genes=GENES).loci.pos.tolist() == [55039974]


def test_gwas_ssf_takes_trait_and_build_from_its_yaml(tmp_path):
    f = tmp_path/"GCST1.tsv"
    f.write_text("chromosome\tbase_pair_location\tp_value\trsid\n1\t55505647\t1.2E-90\trs11591147\nNA\tNA\t1E-10\trs1421085\n16\t53800954\t0.73\trs1421085\n")
    Path(f"{f}-meta.yaml").write_text("trait_description:\n- LDL cholesterol levels\ngenome_assembly: GRCh37\n")
    found = read_loci(f, genes=GENES)
    assert found.loci[["trait", "pos"]].values.tolist() == [["LDL cholesterol levels", 55039974], ["LDL cholesterol levels", 53767042]]
    assert found.rejected.line.tolist() == [3] and found.loci["flags"][1] == ["not genome-wide significant: p = 0.73"] and "-meta.yaml says so" in found.understood


def test_a_whole_study_is_refused_or_clumped(tmp_path):
    f = tmp_path/"gwas.csv"
    rows = [("LDL", 1 + i % 22, 1_000_000 + 9_000 * i, "1E-400" if i == 6105 else 1e-9 if 6110 < i < 6200 else 0.5) for i in range(12_000)]
    pd.DataFrame(rows, columns=["trait", "chrom", "pos", "p"]).iloc[:11_000].assign(chrom=19).to_csv(f, index=False)
    with pytest.raises(UserError, match="has 11,000 rows, so it is full summary statistics .* --clump 500kb --p 5e-8"): read_loci(f, genes=GENES)
    found = read_loci(f, clump=500_000, genes=GENES)
    assert found.loci.pos.tolist() == [1_000_000 + 9_000 * i for i in (6105, 6161)] and "Of 11,000 rows 90 have p at most 5e-08" in found.notes[0]


def test_codes_tags_and_the_given_trait(tmp_path):
    f = tmp_path/"loci.csv"
    f.write_text('trait,candidates\nEFO_0004611,"PCSK9,USP24"\n30780_irnt,"PCSK9,USP24"\nVitamin B12,"CUBN,FUT2"\n1-methylxanthine,"CYP1A2,NAT2"\n"LDL <genes> [A] </genes>","PCSK9,USP24"\n')
    found = read_loci(f, genes=GENES)
    assert [any(x.startswith("trait is a code") for x in flags) for flags in found.loci["flags"]] == [True, True, False, False] and found.rejected.line.tolist() == [6]
    assert read_loci(f, trait="LDL", genes=GENES).loci.trait.tolist() == ["LDL", "Vitamin B12", "1-methylxanthine"]   # the two codes are one locus by this name


def test_ids_stand_by_themselves_and_own_columns_stay(tmp_path):
    lines = ["LDL,1,55039974,a,7", "AD,19,44908684,b,8", "T2D,10,112998590,c,9"]
    for name, order in (("one.csv", lines), ("other.csv", lines[::-1])): (tmp_path/name).write_text("trait,chrom,pos,cohort,n\n" + "\n".join(order))
    one, other = (read_loci(tmp_path/name, genes=GENES).loci.sort_values("locus_id", ignore_index=True) for name in ("one.csv", "other.csv"))
    pd.testing.assert_frame_equal(one, other)
    assert {"cohort", "n"} < set(one)


def test_strict_rejects_and_json(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("loci.csv").write_text("trait,chrom,pos\nLDL,1,55039974\nHeight,77,5\nSchizophrenia,2,145000000\nBMI,21,5011799\n")
    found = check_json("loci.csv", genes=GENES)
    assert (found["read"], [r["line"] for r in found["rejected"]]) == (1, [3, 4, 5]) and json.loads(json.dumps(found)) == found
    assert "ZEB2 is the only protein-coding gene within 500,000 bp" in found["rejected"][1]["reason"] and "the nearest is TPTE, 5,509,754 bp away" in found["rejected"][2]["reason"]
    assert main(["data", "check", "loci.csv"]) == 0
    assert pd.read_csv("loci.rejected.tsv", sep="\t").line.tolist() == [3, 4, 5]
    with pytest.raises(UserError, match="loci.csv, line 3: Unknown chromosome '77'; known are"): read_loci("loci.csv", strict=True, genes=GENES)
    Path("none.csv").write_text("trait,chrom,pos\nLDL,1,55.04\n")
    assert check_json("none.csv", genes=GENES)["read"] == 0
    with pytest.raises(UserError, match="none of 1 row can be used: the first, line 2: position 55.04"): read_loci("none.csv", genes=GENES)


SHARED = {  # loci, lines left out, build of the file, places (or candidates, where there is none) of the first four loci
          "gwas/01-gwas-catalog-associations/gwas-catalog-associations.tsv": (4, [5, 6, 7], "38", "1:55039974, 10:112998590, X:154536002, 1:67240275"),
          "gwas/02-fuma-genomic-risk-loci/GenomicRiskLoci.txt": (4, [], "37", "1:55039974, 10:112998590, 19:44908684, X:154536002"), "gwas/04-credible-sets/ENDPOINT.SUSIE.snp.tsv": (2, [], "38", "10:112998590, X:154536002"),
          "gwas/04-credible-sets/locus_1.cred2": (2, [], "37", "1:55039974, 1:55038977"), "gwas/04-credible-sets/polyfun.cs.csv": (2, [], "37", "1:55039974, 10:112998590"),
          "gwas/05-gwas-ssf-with-yaml/GCST00000001.tsv": (4, [5], "37", "1:55039974, 10:112998590, X:154536002, 16:53767042"),
          "gwas/07-spreadsheet-export/loci-de.csv": (3, [2, 4], "38", "10:112998590, X:154536002, ACE2 MARCHF1 MTARC1 SEPTIN2 VSIR"), "gwas/07-spreadsheet-export/loci-latin1.csv": (2, [], "38", "6:31271836, 1:206770623"),
          "gwas/07-spreadsheet-export/loci-rounded.tsv": (1, [2, 4, 5], "38", "5:131594000"), "gwas/08-open-targets-json/credible_sets.json": (2, [], "38", "1:55039974, 10:112998589"),
          "gwas/08-open-targets-json/l2g.tsv": (1, [], "38", "PCSK9 USP24"), "gwas/08-open-targets-json/study_locus.jsonl": (1, [2], "38", "1:55039974"),
          "gwas/10-many-traits-and-candidates/hla.csv": (3, [4], "38", "6:32609813, 6:28744470, 13:112000000"),
          "gwas/10-many-traits-and-candidates/loci.csv": (6, [], "38", "BSND DHCR24 PCSK9 TMEM61 USP24, PCSK9 USP24, HERC2 OCA2, BSND PCSK9 USP24"),
          "rank/01-row-order/banana.csv": (20, [], "38", "1:9296617, 1:43631859, 1:211744902, 2:112851991"), "rank/01-row-order/forward.csv": (20, [], "38", "1:9296617, 1:43631859, 1:211744902, 2:112851991"),
          "rank/01-row-order/reversed.csv": (20, [], "38", "15:63696566, 13:27919860, 12:4275678, 11:1877434"), "rank/02-batch/good.csv": (3, [], "38", "1:55039974, 10:112998590, 19:44908684"),
          "rank/02-batch/one.csv": (1, [], "38", "1:55039974"), "rank/03-grch37/g37.csv": (3, [], "37", "19:44908684, 1:55039974, 10:112998590"), "rank/03-grch37/g37_lab.csv": (2, [], "37", "19:44908684, 1:55039974"),
          "rank/04-fuma-as-told/GenomicRiskLoci.tsv": (4, [], "37", "1:55039974, 10:112998590, 19:44908684, X:154536002"), "rank/04-fuma-as-told/g2.tsv": (4, [], "37", "1:55039974, 10:112998590, 19:44908684, X:154536002"),
          "rank/05-position-55/mb.csv": (0, [2], "38", ""), "rank/05-position-55/sci.csv": (0, [2, 3], "38", ""), "rank/06-trait-ignored/many.csv": (10, [10, 11], "38", "1:55039974, 1:55039974, 1:55039974, 1:55039974"),
          "rank/07-one-bad-row/desert.csv": (2, [4], "38", "1:55039974, 13:112000000"), "rank/07-one-bad-row/hits300.csv": (297, [128, 276, 294], "38", "7:56051685, 5:58491435, 8:133237175, 17:47823272"),
          "rank/07-one-bad-row/hla.csv": (1, [], "38", "6:32609813"), "rank/07-one-bad-row/onegene.csv": (1, [3], "38", "10:112998590"), "rank/08-genes/genes_alias.csv": (1, [], "38", "MLL2 NECTIN2 TENT5A VSIR"),
          "rank/08-genes/genes_and_pos.csv": (1, [], "38", "1:55039974"), "rank/08-genes/genes_dupcase.csv": (1, [], "38", "PCSK9 USP24"), "rank/08-genes/genes_ensv.csv": (1, [], "38", "BSND PCSK9 USP24"),
          "rank/08-genes/genes_excel.csv": (1, [], "38", "APOE DEC1 MARCHF1 MTARC1 SEPTIN2 SEPTIN9"), "rank/08-genes/genes_excel_de.csv": (1, [], "38", "APOE MARCHF1 MTARC1 SEPTIN2"),
          "rank/08-genes/genes_junk.csv": (1, [], "38", "BANANA FOO1 PCSK9"), "rank/08-genes/genes_long.csv": (1, [], "38", "BSND PCSK9 USP24"), "rank/08-genes/genes_lower.csv": (1, [], "38", "BSND PCSK9 USP24"),
          "rank/08-genes/genes_mouse.csv": (1, [], "38", "BSND PCSK9 USP24"), "rank/08-genes/genes_nc.csv": (1, [], "38", "AC008567.1 LINC01133 MALAT1 MIR33A RP11-123K3.4"), "rank/08-genes/genes_one.csv": (0, [2], "38", ""),
          "rank/08-genes/genes_partly.csv": (2, [], "38", "1:55039974, 10:112998590"), "rank/08-genes/genes_sep_dash.csv": (1, [], "38", "BSND PCSK9 USP24"), "rank/08-genes/genes_sep_pipe.csv": (1, [], "38", "BSND PCSK9 USP24"),
          "rank/08-genes/genes_sep_semi.csv": (1, [], "38", "BSND PCSK9 USP24"), "rank/08-genes/genes_sep_slash.csv": (1, [], "38", "BSND PCSK9 USP24"), "rank/08-genes/genes_sep_space.csv": (1, [], "38", "BSND PCSK9 USP24"),
          "rank/08-genes/genes_wrongchr.csv": (1, [], "38", "1:55039974"), "rank/09-overwrite/studyA/loci.csv": (1, [], "38", "1:55039974"), "rank/09-overwrite/studyB/loci.csv": (1, [], "38", "10:112998590"),
          "rank/10-did-you-mean/chrom_05_25.csv": (0, [2], "38", ""), "rank/10-did-you-mean/chrom_07_26.csv": (0, [2], "38", ""), "rank/10-did-you-mean/chrom_15_1p32_3.csv": (0, [2], "38", ""),
          "rank/10-did-you-mean/chroms.csv": (1, [], "38", "1:55039974"), "rank/10-did-you-mean/header_case.csv": (1, [], "38", "1:55039974"), "rank/10-did-you-mean/notrait.csv": (1, [], "38", "1:55039974"),
          "rank/10-did-you-mean/pos_na.csv": (1, [3], "38", "1:55039974"), "rank/10-did-you-mean/semicolon.csv": (1, [], "38", "1:55039974"), "rank/10-did-you-mean/variant.csv": (1, [], "38", "1:55039447"),
          "rank/12-sumstats/sumstats5k.tsv.gz": (5000, [], "38", "1:50000000, 1:50000500, 1:50001000, 1:50001500"), "rank/13-conf/good.csv": (3, [], "38", "1:55039974, 10:112998590, 19:44908684")}


SHARED_HERE = pytest.mark.skipif(not CASES.exists(), reason="the shared cases are not part of a clone; the retyped files above stand for them")


@SHARED_HERE
@pytest.mark.parametrize("path", SHARED)
def test_shared_cases(path):
    found = check_json(CASES/path, trait="LDL cholesterol", genes=GENES)
    first = [f"{row['chrom']}:{row['pos']}" if row["pos"] else " ".join(row["candidates"]) for row in found["loci"][:4]]
    assert (found["read"], [r["line"] for r in found["rejected"]], found["build"][-2:], ", ".join(first)) == SHARED[path], found


@SHARED_HERE
def test_every_shared_case_is_tested():
    files = {str(f.relative_to(CASES)) for room in ("gwas", "rank") for f in (CASES/room).rglob("*") if f.is_file() and f.suffix not in (".md", ".yaml", ".chain")}
    assert files == {*SHARED}


cell = st.sampled_from(["1", "chrX", "55039974", "5.5e7", "NA", "", "rs11591147", "1:55039974:G:T", "LDL", "PCSK9,USP24", "1-Mar", "0.05", "1E-400", "-", "nan", "[1]", "NC_000001.11", "9" * 30, "1e999", "\"", "a;b", "é", "-1", "inf", "0"]) | st.text(max_size=6)
names = st.sampled_from(["trait", "chrom", "pos", "candidates", "variant", "rsid", "p", "mlog10p", "gene", "cs", "pip", "locus", "start", "end", "causal_gene", "locus_id", "cred1", "prob1", "FORMAT", "LP", "studytype", "diseases", "l2g", "build", "pos_hg19", "pos_mb", "x"])


def told_or_read(path, **options):
    "Every input gives loci or one sentence."
    try: found = check_json(path, genes=GENES, **options)
    except UserError as e: assert str(e) and "\n" not in str(e)
    else: json.dumps(found, allow_nan=False)


@given(st.binary(max_size=300) | st.sampled_from([b"PK\x03\x04", b"\x1f\x8b", b"PAR1", b"{", b"[", b"\xff\xfe", b"##fileformat=VCF\n"]).flatmap(lambda b: st.binary(max_size=60).map(lambda x: b + x)))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused(tmp_path, data):
    (tmp_path/"f").write_bytes(data)
    told_or_read(tmp_path/"f", trait="LDL")


@given(st.lists(names, min_size=1, max_size=7), st.lists(st.lists(cell, min_size=1, max_size=7), max_size=5), st.sampled_from("\t,; |"), st.booleans(), st.sampled_from([None, 500_000]))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_table_is_read_or_refused(tmp_path, header, rows, separator, has_trait, clump):
    wide = [(r + [""] * len(header))[:len(header)] for r in rows]
    (tmp_path/"f").write_text("\n".join(separator.join(r) for r in [header, *wide]), encoding="utf-8")
    told_or_read(tmp_path/"f", trait="LDL" if has_trait else None, clump=clump)


value = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | cell, lambda v: st.lists(v, max_size=3) | st.dictionaries(names, v, max_size=4), max_leaves=8)


@given(value)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_read_or_refused(tmp_path, data):
    (tmp_path/"f").write_text(json.dumps([data, {"trait": "LDL", "candidates": "PCSK9,USP24"}]))
    told_or_read(tmp_path/"f", trait="LDL")
