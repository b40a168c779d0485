"""The pages, read as text and in a real browser: offline, light and dark, wide and narrow."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import HARD_TITLES

from reclib.workflow import pages, publish, site

CHROMIUM = shutil.which("chromium")
VIEWS = [("light", 1280), ("dark", 390)]
PAGES = ["first/index.html", "first/00_data.html", "index.html"]


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    if not CHROMIUM:
        pytest.skip("no chromium here; Debian's package `chromium` brings it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()


def open_page(browser: object, path: Path, scheme: str = "light", width: int = 1280) -> tuple[object, list, list]:
    context = browser.new_context(offline=True, color_scheme=scheme, viewport={"width": width, "height": 900})
    page = context.new_page()
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(path.as_uri())
    return page, [url for url in asked if not url.startswith(("data:", path.as_uri()))], said


@pytest.mark.parametrize(("scheme", "width"), VIEWS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_for_nothing_fits_the_screen_and_pleases_axe(browser, finished, name, scheme, width):
    hold_page(browser, finished / name, scheme, width)


@pytest.mark.parametrize(("scheme", "width"), VIEWS)
def test_every_page_of_the_default_run_does_so_too(browser, default_run, scheme, width):
    # All pages have one style: where axe has seen it dark on two kinds of page, it need not go through the others.
    seen_dark = ("index.html", "09_brief.html")
    for path in sorted(default_run.glob("*.html")):
        hold_page(browser, path, scheme, width, by_axe=scheme == "light" or path.name in seen_dark)


def hold_page(browser: object, path: Path, scheme: str, width: int, *, by_axe: bool = True) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page, asked, said = open_page(browser, path, scheme, width)
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"] if by_axe else []
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    page.context.close()
    assert (path.name, asked, said) == (path.name, [], [])
    assert [(path.name, each["id"], each["nodes"][0]["html"]) for each in found] == []
    assert (path.name, max(overflow, 0)) == (path.name, 0)


def test_the_brief_of_the_default_run_prints_on_one_page(browser, default_run):
    page, _, _ = open_page(browser, default_run / "09_brief.html")
    printed = page.pdf(prefer_css_page_size=True)
    page.context.close()
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", printed)) == 1


def test_the_site_of_the_default_run_is_small(default_run):
    assert sum(page.stat().st_size for page in default_run.rglob("*.html")) < 8_000_000


def test_the_index_of_the_default_run_says_the_verdict_of_its_record(default_run):
    verdict = publish.read_json(default_run / "verdict.json")
    text = (default_run / "index.html").read_text()
    assert f'class="badge {verdict["verdict"]}">{verdict["verdict"]}<' in text
    assert "No description has been provided" not in "".join(page.read_text() for page in default_run.glob("*.html"))


def test_hard_titles_stand_on_the_page_as_they_are(browser, finished):
    page, _, _ = open_page(browser, finished / "first/00_data.html")
    shown = page.locator("td:first-child").all_text_contents()
    bold, scripts = page.locator("td b").count(), page.locator("main script").count()
    page.context.close()
    assert shown == HARD_TITLES
    assert (bold, scripts) == (0, 0)


def test_a_table_sorts_by_keyboard_as_numbers_and_back(browser, finished):
    page, _, _ = open_page(browser, finished / "first/00_data.html")
    button = page.get_by_role("button", name="price")
    button.focus()
    orders = []
    for _ in range(2):
        page.keyboard.press("Enter")
        orders.append(page.locator("td:nth-child(2)").all_text_contents())
    state = page.get_by_role("columnheader", name="price").get_attribute("aria-sort")
    page.context.close()
    assert orders == [["1.5", "3", "4", "20", "1,000.25"], ["1,000.25", "20", "4", "3", "1.5"]]
    assert state == "descending"


def test_code_is_hidden_and_one_click_away(browser, finished):
    page, _, _ = open_page(browser, finished / "first/00_data.html")
    code = page.locator("details.code pre").first
    before = code.is_visible()
    page.locator("details.code summary").first.click()
    after = code.is_visible()
    page.context.close()
    assert (before, after) == (False, True)


def test_every_link_of_the_site_leads_somewhere(finished):
    for page in sorted(finished.rglob("*.html")):
        for link in re.findall(r'href="([^"#]+)"', page.read_text()):
            assert (page.parent / link).exists(), f"{page}: {link}"


def test_every_figure_says_what_it_shows(finished):
    text = (finished / "first/00_data.html").read_text()
    assert re.findall(r'<img alt="([^"]*)"', text) == ["Bars of five prices."]


def test_the_index_tells_takeaways_as_text_and_why_a_notebook_was_skipped(finished):
    text = (finished / "first/index.html").read_text()
    assert "Five titles, &lt;b&gt;not bold&lt;/b&gt; &amp; *plain*." in text
    assert "needs <code>units</code> or <code>answers</code>" in text


def test_markup_is_cleaned_of_what_acts():
    dirty = '<p onclick="x()">a<script>alert(1)</script><img src="https://x.test/a.png" onerror="y()"></p>'
    assert "script" not in pages.clean(dirty)
    assert "onclick" not in pages.clean(dirty)
    assert "onerror" not in pages.clean(dirty)


def test_numbers_stand_to_the_right_and_words_follow_their_own_direction():
    found = pages.table("<table><tr><th>a</th><th>b</th></tr><tr><td>x</td><td>1,200.5</td></tr></table>")
    assert '<td dir="auto">x</td><td class="num">1,200.5</td>' in found
    assert '<th scope="col" dir="auto">a</th><th scope="col" class="num">b</th>' in found


def test_long_names_break_at_their_seams_and_nowhere_else():
    found = pages.table("<table><tr><th>a</th></tr><tr><td>n_rated_in_category</td></tr></table>")
    assert "n_rated_<wbr>in_category</td>" in found


def test_a_number_is_not_parted_from_its_per_cent():
    found = pages.table("<table><tr><th>a</th></tr><tr><td>8.1 % or 100 % more</td></tr></table>")
    assert "8.1\u00a0% or 100\u00a0% more" in found
    assert pages.sentence("**8.1 % or more.**") == "8.1\u00a0% or more."


RUNS = [  # name, status, verdict, effect with its interval, finding of its guardrail, seconds
    ("night-1", "published", "HOLD", (0.5, -0.5, 1.5), "within margin", 300), ("night-2", "failed", "HOLD", (None,) * 3, "", 20),
    ("night-3", "refused", "INVALID", (None,) * 3, "", 310), ("night-4", "published", "SHIP", (1.0, 0.5, 1.5), "margin not shown", 600)]


@pytest.fixture
def nights(tmp_path) -> Path:
    """Four nights of one shop: published, failed, refused, published."""
    for at, (name, status, verdict, numbers, finding, seconds) in enumerate(RUNS):
        held = [{"metric": "complaints", "arm": "value", "finding": finding}] if finding else []
        record = {"run_id": name, "status": status, "started_at": f"2026-11-2{at}T03:00:00+00:00", "source": {"name": "shop"},
                  "seconds": seconds, "jobs": 1, "notebooks": [], "parameters": {}, "tables": {}}
        if status == "failed":
            error = {"cell": 3, "error": "ValueError: k == 0.", "source": "k", "traceback": ""}
            record["notebooks"] = [{"name": "04_rules", "title": "Rules", "page": "04_rules.html", "status": "failed", "seconds": 1.0, "error": error}]
        publish.write_json(tmp_path / name / "run.json", record)
        told = {"verdict": verdict, "guardrails": held, **dict(zip(("effect", "low", "high"), numbers))}
        publish.write_json(tmp_path / name / "verdict.json", told)
        pages.write_index(tmp_path / name, record, told, before=site.run_before(tmp_path, record))
    publish.make_latest(tmp_path, "night-4")
    pages.write_overview(tmp_path)
    return tmp_path


def test_the_last_runs_stand_on_one_scale_and_a_failed_one_has_no_verdict(nights):
    rows = {each["run_id"]: each for each in site.last_runs(nights, None)}
    assert [(name, rows[name]["verdict"], rows[name]["guardrails"]) for name in sorted(rows)] == [
        ("night-1", "HOLD", "1 of 1"), ("night-2", "", ""), ("night-3", "INVALID", ""), ("night-4", "SHIP", "0 of 1")]
    # From -0.5 to 1.5: zero lies at a quarter, the effect of 1 at three quarters; 300 of 600 seconds are a half.
    assert rows["night-1"]["interval"] == {"effect": 50.0, "low": 0.0, "high": 100.0, "zero": 25.0}
    assert rows["night-4"]["interval"] == {"effect": 75.0, "low": 50.0, "high": 100.0, "zero": 25.0}
    assert (rows["night-2"]["interval"], rows["night-1"]["share"]) == (None, 50.0)


def test_what_moved_skips_nights_that_were_not_published_and_tells_of_guardrails(nights):
    text = (nights / "night-4/index.html").read_text()
    assert "Held against <a href=\"../night-1/index.html\">night-1</a>" in text
    assert re.search(r"guardrail: complaints in value</td><td[^>]*>within margin</td><td[^>]*>margin not shown<", text)


def test_a_failed_run_says_so_first_and_gives_no_verdict(nights):
    text = (nights / "night-2/index.html").read_text()
    assert '<span class="badge failed">FAILED</span>' in text
    assert "ValueError: k == 0." in text and 'class="badge HOLD"' not in text


@pytest.mark.parametrize(("scheme", "width"), VIEWS)
def test_pages_of_bad_nights_please_axe_too(browser, nights, scheme, width):
    for name in ("index.html", "night-2/index.html", "night-3/index.html"):
        hold_page(browser, nights / name, scheme, width)


def test_columns_of_sentences_get_room_and_blanks_are_sorted_last(browser, tmp_path):
    found = pages.table("<table><thead><tr><th>why</th><th>p</th></tr></thead><tbody>" + "".join(
        f"<tr><td>{'long words ' * 6}</td><td>{p}</td></tr>" for p in ("0.25", "", "&lt;\u00a00.001")) + "</tbody></table>")
    assert '<td class="prose" dir="auto">' in found and found.count('class="num"') == 4
    path = tmp_path / "page.html"
    path.write_text(f"<!doctype html><main>{found}</main><script>{pages.site_parts()['script']}</script>")
    page, _, _ = open_page(browser, path)
    orders = []
    for _ in range(2):
        page.get_by_role("button", name="p", exact=True).click()
        orders.append([text.replace("\u00a0", " ") for text in page.locator("td:nth-child(2)").all_text_contents()])
    page.context.close()
    assert orders == [["< 0.001", "0.25", ""], ["0.25", "< 0.001", ""]]


def test_a_page_survives_forced_colours_and_the_brief_s_words_stay(browser, finished):
    context = browser.new_context(offline=True, forced_colors="active", viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto((finished / "first/index.html").as_uri())
    colours = page.evaluate("[getComputedStyle(document.querySelector('.badge')).color, getComputedStyle(document.body).backgroundColor]")
    context.close()
    assert colours[0] != colours[1]


def test_what_moved_is_told_with_its_change(tmp_path):
    publish.write_json(tmp_path / "verdict.json", {"verdict": "HOLD", "effect": 0.5})
    publish.write_json(tmp_path / "run.json", {"tables": {"events": {"rows": 100, "sha256": "a"}}})
    now = {"tables": {"events": {"rows": 110, "sha256": "b"}}}
    rows = {row["what"]: (row["before"], row["now"], row["change"])
            for row in site.moved(tmp_path, now, {"verdict": "SHIP", "effect": 0.75})}
    assert rows["verdict"] == ("HOLD", "SHIP", "")
    assert rows["effect"] == ("0.5", "0.75", "+0.25 (+50.0%)")
    assert rows["rows of events"] == ("100", "110", "+10 (+10.0%)")
