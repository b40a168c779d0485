"""Explorers as pure functions, still in batch, and one in a real JupyterLab under the keyboard."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import write_notebook
from test_rules_trace import AS_OF as NIGHT
from test_rules_trace import decided, world_of

from reclib import explorers, plots, schema, signals, store
from reclib.experiments import page, power
from reclib.experiments.explore import Planner, WhatIf
from reclib.offpolicy.logs import with_rewards
from reclib.offpolicy.values import value_policy
from reclib.rules.day import Day
from reclib.rules.explore import Desk

CHROMIUM = shutil.which("chromium")
AS_OF = schema.end_of_day("2026-03-01")
CONTROLS = {"size": (1, 9, 1, 3), "colour": ["red", "blue"]}
NOTEBOOK = """
import pandas as pd
from reclib import explorers, schema, signals

at = pd.to_datetime(["2026-03-01T23:59:59", "2026-01-30T23:59:59"], utc=True).as_unit("us")
events = pd.DataFrame({"occurred_at": at, "customer_id": [1, 2], "item_id": [1, 1], "event_type": "purchase", "value": 0.0})
grader = signals.Grader(events, {"purchase": 5.0}, half_life_days=30.0, as_of=schema.end_of_day("2026-03-01"), scale=(1.0, 5.0))
explorers.show(grader.draw, **grader.controls)
"""


def drawn(size: float, colour: str):
    fig, axes = plots.figure(title="Size", x="x", y="y")
    axes.plot([0, size], [0, 1], color=colour)
    return fig, f"A line <b> of {size} in {colour}, $5 and [a_b]."


@pytest.fixture
def shown(monkeypatch) -> list:
    found: list = []
    monkeypatch.setattr("IPython.display.display", lambda *things, **_: found.extend(things))
    return found


@pytest.fixture
def events() -> pd.DataFrame:
    """Customer 1 bought item 1 today and viewed item 2 thirty days ago; customer 2 sent item 1 back today."""
    at = AS_OF - pd.to_timedelta([0, 30, 0], unit="D")
    return pd.DataFrame({"occurred_at": pd.Series(at).astype("datetime64[us, UTC]"), "customer_id": [1, 1, 2], "item_id": [1, 2, 1],
                         "event_type": ["purchase", "view", "return"], "value": 0.0})


@pytest.fixture
def grader(events) -> signals.Grader:
    return signals.Grader(events, signals.WEIGHTS, half_life_days=30.0, as_of=AS_OF, scale=(1.0, 5.0))


@pytest.fixture
def days() -> Day:
    items, ranked, candidates, history = world_of()
    case, plans = decided(items, ranked, candidates, history)
    return Day(case, plans["value"], ranked, candidates, history, as_of=schema.end_of_day(NIGHT))


@pytest.fixture
def desk() -> Desk:
    case, plans = decided(*world_of())
    return Desk(case, plans["value"])


@pytest.fixture
def log() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Eight slots of two items by lot; a is answered three times of four, b once of four."""
    deliveries = pd.DataFrame({"decision_id": range(800), "delivered_at": AS_OF, "policy": "random", "item_id": list("aabb") * 200,
                               "position": 1, "p_shown": 0.5})
    answered = [number for number in range(800) if number % 8 in (0, 1, 4, 2)]
    outcomes = pd.DataFrame({"decision_id": answered, "outcome_type": "click", "value": 1.0})
    return deliveries, outcomes


@pytest.fixture
def what_if(log) -> WhatIf:
    return WhatIf(*log, stated=pd.DataFrame({"item_id": ["a"], "p_target": [1.0]}))


@pytest.fixture
def reading() -> page.Reading:
    value = np.tile([0.0, 2.0], 200)
    units = pd.DataFrame({"experiment_id": "launch", "customer_id": range(400), "arm": np.repeat(["old", "new"], 200), "orders": value})
    plan = {"experiment_id": "launch", "control": "old", "expected_shares": {"old": 0.5, "new": 0.5},
            "metrics": {"orders": {"role": "success", "kind": "mean"}}}
    return page.read(units, {"name": "shop", "experiment": plan})


def words(explorer, **moved) -> str:
    fig, said = explorer.draw(**explorers.starts(explorer.controls) | moved)
    plots.plt.close(fig)
    return said


def test_in_batch_the_figure_stands_where_the_controls_start_and_no_widget_is_built(shown, monkeypatch):
    monkeypatch.setattr(explorers, "_widget", lambda *_: pytest.fail("a widget was built"))
    explorers.show(drawn, **CONTROLS)
    picture, text = shown
    assert "image/png" in picture
    assert picture["text/plain"] == text["text/plain"] == "A line <b> of 3 in red, $5 and [a_b]."
    assert text["text/markdown"] == r"A line &lt;b&gt; of 3 in red, \$5 and \[a\_b\]."


def test_nobody_sits_in_front_of_a_run(monkeypatch):
    assert not explorers.available()
    monkeypatch.setenv("RECLIB_RUN", "night")
    assert not explorers.available()


@pytest.mark.parametrize(("control", "kind", "value"), [
    ((1, 9, 1, 3.0), "IntSlider", 3), ((0.0, 1.0, 0.1, 0.5), "FloatSlider", 0.5), (["red", "blue"], "Dropdown", "red")])
def test_a_control_becomes_a_widget_that_waits_for_the_hand(control, kind, value):
    widget = explorers._widget("share_treated", control)
    assert (type(widget).__name__, widget.value, widget.description) == (kind, value, "share treated")
    assert kind == "Dropdown" or widget.continuous_update is False


@pytest.mark.parametrize("name", ["grader", "days", "desk", "what_if", "planner"])
def test_every_explorer_says_in_batch_what_it_says_where_it_starts(name, request, shown):
    explorer = Planner(request.getfixturevalue("reading")) if name == "planner" else request.getfixturevalue(name)
    explorers.show(explorer.draw, **explorer.controls)
    assert [each["text/plain"] for each in shown] == [words(explorer)] * 2


def test_grades_are_those_of_the_table(events, grader):
    table = signals.build_ratings(events, half_life_days=30.0, as_of=AS_OF)
    start = grader.grade(**explorers.starts(grader.controls))
    assert start.tolist() == table["rating"].tolist()
    assert start == pytest.approx([3 + 2 * 5 / 10, 3 + 2 * 0.5 / 5.5, 3 - 2 * 4 / 9], abs=1e-6)


def test_a_moved_weight_moves_grades_and_the_sentence(grader):
    assert "3 pairs have a grade: the median is 3.182, 33.3 % lie below" in words(grader)
    assert "the median is 3.333, 33.3 %" in words(grader, weight_view=2.0)
    assert "2 pairs have a grade: the median is 3.056, 50.0 %" in words(grader, weight_view=0.0)
    assert "no event counts" in words(grader, weight_view=0.0, weight_purchase=0.0, weight_return=0.0)


def test_given_ratings_stand_whatever_moves(events):
    rated = events.assign(event_type="rating", value=[4.0, 2.0, 5.0])
    grader = signals.Grader(rated, signals.WEIGHTS, half_life_days=30.0, as_of=AS_OF, scale=(1.0, 5.0))
    assert list(grader.controls) == ["half_life_days"]
    assert grader.grade(half_life_days=7).tolist() == [4.0, 2.0, 5.0]


def test_a_day_tells_history_offers_slate_and_why(days):
    said = words(days, customer="0", rank=1)
    assert said.startswith("Customer 0 left 1 event, the last 3.0 days ago; 1 source offered 11 items, 11 ranked; the slate of value is i03, i04.")
    assert "Item i00, ranked 1 for customer 0, was refused by SAFE (is_safe = False)." in said


def test_a_day_shows_what_was_decided_for_all():
    items, ranked, candidates, history = world_of()
    case, plans = decided(items, ranked, candidates, history)
    days = Day(case, plans["value"], ranked, candidates, history, as_of=schema.end_of_day(NIGHT))
    for customer in days.controls["customer"]:
        mine = (case.pairs.customer == int(customer)) & (plans["value"].position > 0)
        slate = case.world.items["item_id"].take(case.pairs.item[mine][np.argsort(plans["value"].position[mine])])
        assert f"the slate of value is {', '.join(slate)}." in words(days, customer=customer)


def test_a_test_is_planned_from_the_spread_of_the_last_one(reading):
    planner = Planner(reading)
    # Each customer is worth 0 or 2, so the spread is the mean (200 / 199 of it for the sample); 200 in each arm.
    se = np.sqrt(200 / 199) * np.sqrt(2 / 200)
    seen = power.detectable(se, alpha=0.05)
    assert planner.controls["customers_a_week"] == (10, 500, 10, 100)
    said = words(planner)
    assert said.startswith(f"orders: 400 customers in 4 weeks, 50 % of them treated, find effects from {100 * seen:.2f} %")
    needed = power.customers_needed(0.05, 200 / 199, alpha=0.05)
    assert f"four in five need {needed:,} customers, {needed / 100:.1f} weeks." in said


def test_more_weeks_find_smaller_effects_and_one_arm_alone_larger_ones(reading):
    found = [float(re.search(r"from ([\d.]+) %", words(Planner(reading), **moved)).group(1))
             for moved in ({"weeks": 8}, {}, {"share_treated": 0.1})]
    assert found == sorted(found) and len(set(found)) == 3


def test_without_an_experiment_the_planner_says_so(shown):
    planner = Planner(page.read(None, {"name": "shop"}))
    explorers.show(planner.draw, **planner.controls)
    assert [each["text/markdown"] for each in shown] == ["shop has no experiment, so no effect can be read."]


def test_the_whole_policy_is_valued_as_the_page_values_it(log, what_if):
    rewarded = with_rewards(*log)
    table = value_policy(rewarded, pd.DataFrame({"item_id": ["a"], "p_target": [1.0]}), policy="stated")
    row = table.set_index("estimator").loc["snips"]
    assert row["value"] == pytest.approx(3 / 4)
    assert f"{100 * row['value']:.3f} % [{100 * row['low']:.3f}, {100 * row['high']:.3f}]" in words(what_if, share_percent=100)


def test_a_mixture_lies_between_and_a_cut_weight_gives_itself_away(what_if):
    assert "50.000 % [" in words(what_if, share_percent=0).split("against")[0]
    assert "62.500 % [" in words(what_if, share_percent=50).split("against")[0]
    assert "not valued, since the mean weight is 0.5 " in words(what_if, share_percent=100, largest_weight=1)


def test_without_a_log_nothing_is_valued():
    explorer = WhatIf(None, None)
    assert explorer.controls == {}
    assert "no policy can be valued" in words(explorer)


def seen(fig) -> list:
    """What an eye finds in a figure: panels by their title, limits, names and numbers at the axes, marks and legends."""
    fig.canvas.draw()
    return [(axes.get_title("left"), [round(each, 6) for each in (*axes.get_xlim(), *axes.get_ylim())],
             [text.get_text() for text in (*axes.get_xticklabels(), *axes.get_yticklabels(), *axes.texts)],
             [len(marks) for marks in (axes.lines, axes.patches, axes.collections)],
             [text.get_text() for legend in (axes.get_legend(), *fig.legends) if legend for text in legend.get_texts()])
            for axes in fig.axes]


@pytest.mark.parametrize("name", ["grader", "days", "desk", "what_if", "planner"])
def test_a_figure_that_stayed_shows_after_a_move_what_a_new_one_shows(name, request):
    explorer = Planner(request.getfixturevalue("reading")) if name == "planner" else request.getfixturevalue(name)
    start, stage = explorers.starts(explorer.controls), plots.Stage()
    moved = start | {name: explorers.moves(control)[-1] for name, control in explorer.controls.items()}
    with stage.played():
        for values in (moved, start, moved):
            kept = explorer.draw(**values)[0]
    fresh = explorer.draw(**moved)[0]
    assert kept is stage.fig and fresh is not kept
    assert seen(kept) == seen(fresh)
    plots.plt.close("all")


def test_a_control_is_moved_to_each_of_its_places_or_to_some_along_a_long_slider():
    assert explorers.moves(["red", "blue"]) == ["red", "blue"]
    assert explorers.moves((0.1, 0.5, 0.1, 0.3)) == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert explorers.moves((1, 1001, 1, 7), most=5) == [1, 251, 501, 751, 1001]


def test_every_single_move_is_timed_against_an_empty_figure(grader):
    ticks = iter(range(1000))
    timed = explorers.pace({"signals": grader}, clocks={"wall": lambda: float(next(ticks))}, most=2)
    assert timed["explorer"].value_counts().to_dict() == {"nothing": 9, "signals": 2 * len(grader.controls)}
    assert set(timed["wall"]) == {1000.0}
    table = explorers.paces(timed.assign(wall=[10.0] * 9 + [20.0] * 7 + [400.0]), by=["explorer"], clock="wall")
    assert table.to_dict("list") == {"explorer": ["nothing", "signals"], "n_moves": [9, 8], "median": [10.0, 20.0],
                                     "worst": [10.0, 400.0], "ratio": [1.0, 2.0]}
    said = explorers.pace_sentence(table, limit=300, clock="wall")
    assert said.startswith("Of 8 moves the slowest took 400 ms (signals, wall): past 300 ms went signals. ")
    assert "each of the 1 explorers answers within 500 ms" in explorers.pace_sentence(table, limit=500, clock="wall")


def test_the_committed_benchmark_times_all_five():
    cells = nbformat.read(store.project() / "notebooks/benchmarks/explorers.ipynb", as_version=4).cells
    shown = "".join(output.data.get("text/html", "") for cell in cells if cell.cell_type == "code" for output in cell.outputs)
    assert [name for name in ("nothing", "signals", "customer's day", "rules", "planner", "off-policy") if f">{name}<" not in shown] == []


@pytest.fixture
def lab(tmp_path) -> Iterator[str]:
    """The address of a JupyterLab that serves a copy of a small notebook."""
    if not CHROMIUM:
        pytest.skip("no chromium here; Debian's package `chromium` brings it")
    home, root = tmp_path / "home", tmp_path / "notebooks"
    write_notebook(root / "grades.ipynb", "Reads nothing · Writes nothing", "seed: int = 7  # seed", NOTEBOOK)
    settings = home / "settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    folders = {"JUPYTER_CONFIG_DIR": "", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime", "JUPYTERLAB_SETTINGS_DIR": "settings",
               "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "IPYTHONDIR": "ipython"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {name: str(home / folder) for name, folder in folders.items()}
    environment.pop("PYTHONWARNINGS", None)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}",
               "--ServerApp.port_retries=0", "--IdentityProvider.token=test", f"--ServerApp.root_dir={root}",
               "--LabApp.extension_manager=readonly"]
    with (tmp_path / "lab.log").open("w") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}/api?token=test", server, tmp_path / "lab.log")
            yield f"http://127.0.0.1:{port}/doc/tree/grades.ipynb?token=test&reset"
        finally:
            server.terminate()


def wait_for(address: str, server: subprocess.Popen, log: Path, seconds: int = 90) -> None:
    for _ in range(4 * seconds):
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.25)
    pytest.fail(f"JupyterLab did not answer in {seconds} s: {log.read_text()}")


def test_a_slider_moves_a_number_by_keyboard_in_jupyterlab(lab):
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        tab = browser.new_page(viewport={"width": 1280, "height": 1400})
        tab.set_default_timeout(90_000)
        expect.set_options(timeout=90_000)
        tab.goto(lab, wait_until="domcontentloaded")
        tab.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        # Without this wait, Lab asks which kernel to use and nothing runs.
        expect(tab.locator("#jp-bottom-panel, .jp-StatusBar-Widget").first).to_contain_text(re.compile("Python 3.*Idle"))
        tab.get_by_role("menuitem", name="Run", exact=True).click()
        tab.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        said = tab.locator(".jp-OutputArea-output", has_text="pairs have a grade").last
        expect(said).to_contain_text("With a half-life of 30 days and these weights 2 pairs have a grade: the median is 3.833")
        # The second customer's purchase is 30 days old: (4 + 3 + 2 x 2.5 / 7.5) / 2, then (4 + 3 + 2 x 2.557 / 7.557) / 2.
        slider = tab.get_by_role("slider").first
        expect(slider).to_have_accessible_name("half life days")
        faults = Axe().run(tab, context=".widget-vbox").response["violations"]
        assert [(each["id"], each["nodes"][0]["html"]) for each in faults] == []
        slider.focus()
        tab.keyboard.press("ArrowRight")
        expect(said).to_contain_text("With a half-life of 31 days and these weights 2 pairs have a grade: the median is 3.838")
        if folder := os.environ.get("RECLIB_PICTURES"):
            tab.screenshot(path=f"{folder}/explorer.png")
        browser.close()
