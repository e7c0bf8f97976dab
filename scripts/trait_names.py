"""Write generank/data/traits.tsv, names of ontology ids: `python scripts/trait_names.py --files 191108.tsv ot_rv_gs.json otg_gs_230511.json
--curated curated_evidence.tsv --labels trait_names.tsv`.

Every id of a row without a name is looked up in this order: the named rows of the gold standards, Open Targets' curation repository
(gene_burden/curated_evidence.tsv at CURATION), the list of confirmed labels, and CONFIRMED. An id whose names disagree is left out."""
import argparse, collections, csv, json, re
from pathlib import Path

OUT = Path(__file__).resolve().parents[1]/"generank"/"data"/"traits.tsv"
CURATION = "opentargets/curation@c49da71e7a72b7d01fe5d85304086bf8c76092c6"   # Apache-2.0
LEAST_SHARE = 0.5   # more than this share of an id's curated rows must agree on a name, once codes and sides are gone
# ids that only ot_platform rows have: each is named so in at least two public files (two by Open Targets' curation repository itself)
CONFIRMED = {
    "MONDO_0004975": "Alzheimer's disease", "MONDO_0004976": "amyotrophic lateral sclerosis", "MONDO_0005301": "multiple sclerosis",
    "MONDO_0005147": "insulin-dependent diabetes mellitus", "EFO_0003767": "inflammatory bowel disease", "MONDO_0005277": "migraine",
    "MONDO_0100096": "COVID-19", "MONDO_0005178": "osteoarthritis", "EFO_0000681": "renal cell carcinoma", "HP_0002315": "headache", "EFO_0003959": "cleft lip"}
# one wording for one trait: what the curated file says -> what the gold standards' own rows say
ONE_WORDING = {"type 2 diabetes": "type II diabetes mellitus", "type 2 diabetes mellitus": "type II diabetes mellitus", "parkinson disease": "Parkinson's disease",
               "breast cancer": "breast carcinoma", "prostate cancer": "prostate carcinoma",
               "red blood cell erythrocyte count": "red blood cell count", "red blood cell erythrocyte distribution width": "red blood cell distribution width",
               "forced vital capacity fvc": "forced vital capacity", "forced expiratory volume in 1 second fev1": "forced expiratory volume in 1 second",
               "intra ocular pressure goldmann correlated": "intraocular pressure", "intra ocular pressure corneal compensated": "intraocular pressure",
               "glycated haemoglobin hba1c": "glycated haemoglobin (HbA1c)", "age at menopause last menstrual period": "age at menopause",
               "bmi-adjusted waist-hip ratio": "BMI-adjusted waist-hip ratio", "1,5-anhydroglucitol (1,5-ag) measurement": "1,5-anhydroglucitol measurement",
               "heel quantitative ultrasound index qui": "heel quantitative ultrasound index", "fev1 fvc ratio": "FEV1/FVC ratio", "urinary albumincreatinine ratio": "urinary albumin-to-creatinine ratio",
               "cataract": "cataract", "igf 1": "IGF-1 measurement", "shbg": "sex hormone-binding globulin measurement", "glucose": "glucose measurement",
               "urate": "urate measurement", "cystatin c": "cystatin C measurement", "calcium": "calcium measurement", "testosterone": "testosterone measurement",
               "total protein": "total protein measurement", "lipoprotein a": "lipoprotein A measurement", "apolipoprotein a": "apolipoprotein A 1 measurement",
               "apolipoprotein b": "apolipoprotein B measurement", "phenylalanine": "phenylalanine measurement", "weight": "body weight",
               "alkaline phosphatase": "alkaline phosphatase measurement", "gamma glutamyltransferase": "gamma-glutamyltransferase measurement",
               "aspartate aminotransferase": "aspartate aminotransferase measurement", "microalbumin in urine": "urinary albumin measurement"}
NOT_TRAITS = ("medication", "illnesses of", "family history", "operation", " vs ", " - ", "diagnosed")   # what was done or who was ill


VAGUE = {"EFO_0004302": "mass of arms or legs", "EFO_0004324": "body weights and measures of any kind", "EFO_0007937": "which protein is not said"}


def plain(name):
    "A curated name without UK Biobank's field codes, ICD codes, sides and ways of asking."
    name = re.sub(r"\s*\((\d+|RGC)\)|\s*\*$", "", name)
    name = re.sub(r"^(TAG Probable|DD vascular heart problems - |Eye problems disorders - )", "", name)
    name = re.sub(r"^Non cancer illness code self reported - ", "", name)
    name = re.sub(r"/?ICD10 [A-Z]\d+(\.\d+)?(: )?", "", name)
    name = re.sub(r"( automated reading| Best measure| Z score| predicted| direct entry| left| right|, unspecified| body mass index)+\b", "", name, flags=re.I)
    name = re.sub(r"(body mass index) BMI|^T2D.*$", lambda m: m[1] or "type 2 diabetes", name, flags=re.I)
    return " ".join(name.split()).strip(" ,-/")


def curated_names(path):
    "id -> (name, share) of the curated rows."
    found = collections.defaultdict(collections.Counter)
    with open(path, encoding="utf-8") as f:
        for row in csv.DictReader(f, delimiter="\t"):
            name = plain(row["diseaseFromSource"])
            if name: found[row["diseaseFromSourceMappedId"].strip()][name.casefold() if len(name) > 5 else name] += 1
    return {i: (c.most_common(1)[0][0], c.most_common(1)[0][1] / c.total()) for i, c in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", nargs="+", required=True)
    parser.add_argument("--curated", required=True)
    parser.add_argument("--labels", required=True)
    options = parser.parse_args()
    own, wanted = {}, collections.Counter()
    for path in options.files:
        with open(path, encoding="utf-8") as f:
            for row in csv.DictReader(f, delimiter="\t") if path.endswith(".tsv") else map(json.loads, f):
                ids, name = ((row["trait_info.ontology"].split("|"), row["trait_info.standard_trait_name"]) if path.endswith(".tsv") else
                             (row["trait_info"]["ontology"], row["trait_info"].get("standard_trait_name")))
                if name and len(ids) == 1: own[ids[0]] = name
                if not name and path.endswith(".json") and row["metadata"]["set_label"] in ("rv_burden_tests", "ot_platform"): wanted.update(ids)
    own_wording = {name.casefold(): name for name in own.values()}
    with open(options.labels, encoding="utf-8") as f:
        labels = {r["id"]: r for r in csv.DictReader(f, delimiter="\t")}
    curated, rows, left = curated_names(options.curated), [], []
    for i in sorted(wanted):
        name, share = curated.get(i, ("", 0))
        if i in own: found = own[i], "gold standards"
        elif share > LEAST_SHARE and i not in VAGUE and not any(word in name.casefold() for word in NOT_TRAITS): found = name, CURATION
        elif i in labels and i not in VAGUE and "only source" not in labels[i]["confirmed_by"] and "INFERRED" not in labels[i]["confirmed_by"]: found = labels[i]["label"], "confirmed label"
        elif i in CONFIRMED: found = CONFIRMED[i], "confirmed label"
        else:
            left.append((wanted[i], i, name, round(share, 2)))
            continue
        wording = ONE_WORDING.get(found[0].casefold(), found[0])
        rows.append((i, own_wording.get(wording.casefold(), wording), found[1]))
    with open(OUT, "w", encoding="utf-8", newline="") as f:
        csv.writer(f, delimiter="\t", lineterminator="\n").writerows([("id", "trait", "named_by"), *rows])
    print(f"{len(rows)} ids named; {len(left)} ids ({sum(n for n, *_ in left)} rows) left out: {sorted(left, reverse=True)}")


if __name__ == "__main__": main()
