"""The pages of a run: one a notebook, an index, and an overview of the last runs; self-contained, nothing requested."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
import re
from collections.abc import Callable
from pathlib import Path

from reclib.workflow import publish, site

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"
HIDDEN_TAGS = ("hide", "injected-parameters", "papermill-error-cell-tag")
N_RUNS = 30
LONG_WORD, TEXT, PROSE = 24, 20, 48
MEANING = {
    "SHIP": "The new policy is proven better, and no guardrail was harmed beyond what was agreed.",
    "HOLD": "The new policy is neither proven better nor proven harmful.",
    "ROLLBACK": "The new policy does proven harm.",
    "INVALID": "The evidence cannot be read; no number of this run may be acted on.",
}
_ATTRIBUTES = {
    "*": {"id", "class", "lang", "dir", "title"}, "a": {"href"}, "img": {"src", "alt"},
    "th": {"scope", "colspan", "rowspan"}, "td": {"colspan", "rowspan"},
}
_SEAM = re.compile(r"(?<=[A-Za-z0-9]{3})_(?=[A-Za-z0-9]{2})")
_UNIT = re.compile(r"(?<=\d) (?=%)")
_ANCHOR = re.compile(r'<a class="anchor-link"[^>]*>.*?</a>', re.DOTALL)
_HEADING = re.compile(r'<h2[^>]*\bid="([^"]+)"[^>]*>(.*?)</h2>', re.DOTALL)
_CELL = re.compile(r"<(t[hd])([^>]*)>(.*?)</\1>", re.DOTALL)
_NUMBER = re.compile(r"^([<>]\s?)?[-+−]?[\d,]*\.?\d+(e[-+]?\d+)?(\s?%)?$|^$")


def title_of(path: Path) -> str:
    """The title of a notebook: the first heading of its first cell, else its name."""
    cells = json.loads(path.read_text())["cells"]
    text = "".join(cells[0]["source"]) if cells else ""
    line = next((line for line in text.splitlines() if line.startswith("# ")), "")
    return line.removeprefix("# ").strip() or path.stem


def write_notebook(run: Path, record: dict, names: list[str]) -> None:
    """Write the page of an executed notebook beside it.

    Args:
        run: folder of the run.
        record: the record of the notebook; where it failed, the page says so first.
        names: all notebooks of the run, for the links to the ones before and after.
    """
    import nbformat

    path = run / f"{record['name']}.ipynb"
    if path.exists():
        notebook = nbformat.read(path, as_version=4)
        notebook.cells = [cell for cell in notebook.cells if not set(cell.metadata.get("tags", [])) & set(HIDDEN_TAGS)]
    else:
        notebook = nbformat.v4.new_notebook()
    for cell in notebook.cells:
        cell.outputs = [_without_stderr(output, record) for output in cell.get("outputs", [])]
        cell.outputs = [output for output in cell.outputs if output] if cell.cell_type == "code" else []
    publish.write_text(run / record["page"], render(notebook, record, names))


def _without_stderr(output: dict, record: dict) -> dict | None:
    is_noise = output.output_type == "stream" and output.name == "stderr" and record["status"] != "failed"
    return None if is_noise else output


def render(notebook: object, record: dict, names: list[str]) -> str:
    """Render a notebook as one self-contained page."""
    exporter = _exporter()
    depth = record["name"].count("/") * "../"
    resources = {
        "head": _layout_head(f"{record['title']} · {record['name']}"), "body_class": "brief" if "brief" in record["name"] else "",
        "links": _links(record["name"], names, depth), "script": site_parts()["script"],
        "failure": _environment().get_template("failure.html.j2").render(record=record) if record.get("error") else "",
        "contents": [],
    }
    body, _ = exporter.from_notebook_node(notebook, resources=dict(resources))
    contents = [{"id": at, "text": re.sub("<[^>]+>", "", text).strip()} for at, text in _HEADING.findall(body)]
    if contents:
        body, _ = exporter.from_notebook_node(notebook, resources=resources | {"contents": contents})
    return _numbered_regions(body)


def _links(name: str, names: list[str], depth: str) -> list[dict[str, str]]:
    at = names.index(name) if name in names else -1
    links = [{"href": f"{depth}index.html", "text": "This run"}]
    if at > 0:
        links.append({"href": f"{depth}{names[at - 1]}.html", "text": f"← {names[at - 1]}"})
    if 0 <= at < len(names) - 1:
        links.append({"href": f"{depth}{names[at + 1]}.html", "text": f"{names[at + 1]} →"})
    return links


def mend_links(run: Path, records: list[dict], names: list[str]) -> None:
    """Write again the pages beside a notebook that has none, now that it is known which were skipped."""
    there = [name for name in names if (run / f"{name}.html").exists()]
    for record in records:
        if record["name"] in there and _links(record["name"], names, "") != _links(record["name"], there, ""):
            write_notebook(run, record, there)


def _meaning(verdict: dict) -> str:
    """What the verdict means, in the brief's words unless failed checks overruled it afterwards."""
    usual = MEANING.get(verdict.get("verdict"), "")
    return usual if verdict.get("verdict") == "INVALID" else verdict.get("meaning") or usual


def write_index(run: Path, record: dict, verdict: dict, *, before: str) -> None:
    """Write the index page of a run.

    Args:
        run: folder of the run.
        record: its `run.json`.
        verdict: its `verdict.json`.
        before: the last published run of the same source; empty where there was none.
    """
    for each in record["notebooks"]:
        each["page_is_there"] = (run / each["page"]).exists()
    source = publish.read_json(run / "source.json") or record.get("source") or {}
    brief = next((each["page"] for each in record["notebooks"] if "brief" in each["name"] and each["page_is_there"]), "")
    page = _environment().get_template("run.html.j2").render(
        run=record, verdict=verdict, source=source, brief=brief, before=before, site=site_parts(),
        meaning=_meaning(verdict), reasons=verdict.get("reasons", []),
        failed=[each for each in record["notebooks"] if each.get("error")],
        assumptions=source.get("assumptions", []),
        moved=site.moved(run.parent / before, record, verdict) if before else [],
    )
    publish.write_text(run / "index.html", page)


def write_overview(reports: Path) -> None:
    """Write the page of the last runs, newest first."""
    page = _environment().get_template("overview.html.j2").render(
        runs=site.last_runs(reports, N_RUNS), latest=publish.latest(reports), site=site_parts(),
    )
    publish.write_text(reports / "index.html", page)


@functools.cache
def site_parts() -> dict[str, str]:
    """Style and script of every page, and the hash by which the page allows its own script and no other."""
    script = (TEMPLATES / "page.js").read_text()
    told = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {"css": (TEMPLATES / "page.css").read_text(), "script": script, "script_hash": f"sha256-{told}"}


@functools.cache
def _environment() -> object:
    import jinja2
    from markupsafe import Markup

    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.ChainableUndefined, trim_blocks=True, lstrip_blocks=True,
    )
    environment.filters["sentence"] = lambda text: Markup(sentence(text))
    environment.globals["Markup"] = Markup
    return environment


def _layout_head(title: str) -> str:
    return str(_environment().get_template("head.html.j2").render(title=title, site=site_parts()))


@functools.cache
def _exporter() -> object:
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    exporter = HTMLExporter(config=Config({
        "HTMLExporter": {"template_name": "notebook", "extra_template_basedirs": [str(TEMPLATES)]},
    }))
    filters: dict[str, Callable] = {
        "clean": clean, "table": table, "sentence": sentence, "alt": alt,
        "base64": lambda text: base64.b64encode(text.encode()).decode(),
    }
    for name, function in filters.items():
        exporter.register_filter(name, function)
    return exporter


def clean(markup: str) -> str:
    """Let through plain markup only: no script, no style, no address but links of the page."""
    import nh3

    kept = nh3.clean(
        _ANCHOR.sub("", str(markup)), attributes=_ATTRIBUTES, link_rel=None,
        url_schemes={"http", "https", "mailto"}, tags=set(nh3.ALLOWED_TAGS) | {"section"},
    )
    return _ANCHOR.sub("", kept)


def table(markup: str) -> str:
    """Clean a table, put numbers to the right, give text room, and let it scroll by itself."""
    text = _UNIT.sub("\u00a0", clean(re.sub(r"<style.*?</style>", "", str(markup), flags=re.DOTALL)))
    rows = re.findall(r"<tr[^>]*>.*?</tr>", text, re.DOTALL)
    cells = [[html.unescape(each[2]).strip() for each in _CELL.findall(row)] for row in rows]
    is_regular = len(cells) > 1 and len({len(row) for row in cells}) == 1
    kinds = [_kind(column) for column in zip(*cells[1:])] if is_regular else []
    for row in rows:
        text = text.replace(row, _marked(row, kinds), 1)
    return f'<div class="table" tabindex="0" role="region" aria-label="Table">{text}</div>'


def _kind(column: tuple[str, ...]) -> str:
    """The class of a column: numbers, unbreakable words, sentences, words; empty for short ones."""
    if all(map(_NUMBER.match, column)):
        return "num"
    if max(len(word) for cell in column for word in [*cell.split(), ""]) > LONG_WORD:
        return "long"
    longest = max(map(len, column))
    return "prose" if longest > PROSE else "text" if longest > TEXT else ""


def _marked(row: str, kinds: list[str]) -> str:
    kind_of = iter(kinds)

    def mark(cell: re.Match) -> str:
        tag, _, content = cell.groups()
        content = content if "<" in content else _SEAM.sub("_<wbr>", content)
        kind = next(kind_of, "")
        marks = (' scope="col"' if tag == "th" else "") + (f' class="{kind}"' if kind else "") + ("" if kind == "num" else ' dir="auto"')
        return f"<{tag}{marks}>{content}</{tag}>"

    return _CELL.sub(mark, row)


def _numbered_regions(page: str) -> str:
    count = iter(range(1, page.count('aria-label="Table"') + 1))
    return re.sub('aria-label="Table"', lambda _: f'aria-label="Table {next(count)}"', page)


def sentence(text: str) -> str:
    """A computed sentence as text: what looks like markup in it stays text, only `code` is set as code."""
    bare = str(text).strip().removeprefix("**").removesuffix("**")
    held = _UNIT.sub("\u00a0", html.escape(bare))
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", held)


def alt(output: dict) -> str:
    """The words that stand for a figure."""
    told = [each.get("alt", "") for each in output.get("metadata", {}).values() if isinstance(each, dict)]
    return next(filter(None, told), "") or "".join(output["data"].get("text/plain", "")) or "figure"
