"""Figures take any name and any scale, and their colours stay apart for eyes that see fewer of them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from conftest import HARD_TITLES
from matplotlib import colors

from reclib import plots
from reclib.plots.base import LONGEST_NAME, look

HARD = [*HARD_TITLES, "costs $5 or $6 \\frac{1", "same", "same"]
# Machado, Oliveira and Fernandes 2009, severity 1.0: linear RGB as seen without long, middle or short cones.
SEEN = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "all": np.eye(3).tolist(),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


@pytest.fixture
def shown(monkeypatch) -> list:
    found: list = []
    monkeypatch.setattr("IPython.display.display", lambda output, **_: found.append(output))
    return found


@pytest.fixture
def named() -> pd.DataFrame:
    value = np.arange(len(HARD), dtype=float)
    return pd.DataFrame({"name": HARD, "value": value, "low": value - 1, "high": value + 1, "limit": 3.0, "at": 1})


def lab(hexes: tuple[str, ...], kind: str) -> np.ndarray:
    """CIE L*a*b* (D65) of colours as seen with one kind of cone missing."""
    rgb = np.array([colors.to_rgb(each) for each in hexes])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ np.array(SEEN[kind]).T
    ratio = (np.clip(linear, 0, 1) @ XYZ.T) / XYZ.sum(axis=1)
    bent = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.column_stack([116 * bent[:, 1] - 16, 500 * (bent[:, 0] - bent[:, 1]), 200 * (bent[:, 1] - bent[:, 2])])


@pytest.mark.parametrize("kind", SEEN)
def test_colours_stay_apart_for_every_eye(kind):
    # A just noticeable difference is 2.3.
    assert min(np.linalg.norm(one - other) for one, other in combinations(lab(plots.PALETTE, kind), 2)) > 15


def test_series_of_one_colour_differ_by_marker():
    assert len({look(index) for index in range(42)}) == 42


@pytest.mark.parametrize("draw", [
    lambda table: plots.bars(table, label="name", value="value", low="low", high="high", title="$5 & $6", x="dollars ($)"),
    lambda table: plots.intervals(table, label="name", value="value", low="low", high="high", margin="limit", title="t", x="x"),
    lambda table: plots.against_limit(table, label="name", value="value", limit="limit", title="t", x="x"),
    lambda table: plots.lines(table, at="at", value="value", by="name", title="t", x="x", y="y"),
    lambda table: plots.forest(table.assign(label=HARD, role="success", finding="better", margin=np.nan, lift=1.0, lift_low=0.0,
                                            lift_high=2.0), title="t", x="x"),
], ids=["bars", "intervals", "against_limit", "lines", "forest"])
def test_hard_names_are_drawn_as_text_without_a_warning(draw, named, shown):
    plots.show(draw(named), alt="Hard names.")
    assert shown[0]["image/png"].startswith(b"\x89PNG")


def test_equal_names_keep_their_own_rows_and_long_ones_are_cut(named):
    fig = plots.bars(named, label="name", value="value", title="t", x="x")
    labels = [text.get_text() for text in fig.axes[0].get_yticklabels()]
    widths = [bar.get_width() for bar in fig.axes[0].patches]
    plots.plt.close(fig)
    assert labels.count("same") == 2 and max(map(len, labels)) == LONGEST_NAME
    assert widths == named["value"].tolist()


def test_shares_are_drawn_in_per_cent(named):
    fig = plots.bars(named.assign(share=0.25), label="name", value="share", title="t", x="x (%)", in_percent=True)
    widths = {bar.get_width() for bar in fig.axes[0].patches}
    plots.plt.close(fig)
    assert widths == {25.0}


def test_names_at_the_ends_of_lines_do_not_meet():
    table = pd.DataFrame({"at": [1, 2] * 9, "value": [0.0, 1.0] * 9, "by": np.repeat(list("abcdefghi"), 2)})
    fig = plots.lines(table, at="at", value="value", by="by", title="t", x="x", y="y")
    heights = sorted(text.get_position()[1] for text in fig.axes[0].texts)
    plots.plt.close(fig)
    assert min(np.diff(heights)) >= 11 and max(heights) < 20


@pytest.mark.parametrize(("ends", "expected"), [((2, 40), ["2", "5", "10", "20"]), ((1, 1e6), ["1", "100", "10k", "1M"])])
def test_a_log_axis_says_plain_numbers(ends, expected, monkeypatch):
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: None)
    fig, axes = plots.figure(title="t", x="x", y="y")
    axes.plot(ends, [1, 2])
    axes.set_xscale("log")
    plots.show(fig, alt="Two points.")
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert set(expected) <= set(labels) and not any("10^" in text for text in labels)


def test_a_figure_without_words_is_refused():
    with pytest.raises(ValueError, match="alt == ''"):
        plots.show(plots.figure(title="t", x="x", y="y")[0], alt=" ")
    plots.plt.close("all")
