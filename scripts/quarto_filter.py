"""A notebook as Quarto should get it, from standard input to standard output (`ipynb-filters` of `_quarto.yml`).

nbdev's directives are removed, since Quarto would read them as cell options. HTML outputs become raw HTML in Markdown,
since Quarto adds scripts from a CDN for `text/html`. A cell whose outputs are all Markdown is shown without an output
box, so that its headings appear in the table of contents."""
import json
import re
import sys

notebook, joined = json.load(sys.stdin), "".join
notebook["cells"] = [c for c in notebook["cells"] if not re.match(r"#\|\s*(hide|default_exp)\b", joined(c["source"]))]
for cell in notebook["cells"]:
    if cell["cell_type"] != "code": continue
    cell["source"] = re.sub(r"\A#\|\s*export\b.*\n?", "", joined(cell["source"]))
    shown = [out.get("data", {}) for out in cell["outputs"]]
    for data in shown:
        if made := data.pop("text/html", None): data["text/markdown"] = f"```{{=html}}\n{joined(made)}\n```"
        if "text/markdown" in data: data["text/markdown"] = f"\n{joined(data['text/markdown'])}\n\n"
    if shown and all("text/markdown" in data for data in shown): cell["metadata"]["output"] = "asis"
json.dump(notebook, sys.stdout)
