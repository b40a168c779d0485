"""Figures in one visual language: table in, figure out, shown with words for those who cannot see it.

The palette is Okabe and Ito's, safe for colour blindness; series differ by marker or dash as well as by colour.
Figures that share the language: `figure` makes an empty one, `show` is the only way to put one on a page.
"""

from __future__ import annotations

import io

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#6b7280"

matplotlib.rcParams.update({
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e5e7eb",
    "axes.axisbelow": True, "axes.titlelocation": "left", "axes.titlesize": 11, "axes.labelsize": 10,
    "axes.prop_cycle": matplotlib.cycler(color=PALETTE), "figure.facecolor": "white", "svg.hashsalt": "reclib",
})


def figure(*, title: str, x: str, y: str, width: float = 7.0, height: float = 3.5) -> tuple[Figure, plt.Axes]:
    """Make an empty figure with a title that names what is shown and units on both axes."""
    fig, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.set(title=title, xlabel=x, ylabel=y)
    return fig, axes


def show(fig: Figure, alt: str) -> None:
    """Put a figure on the page as a small PNG with its alternative text.

    Args:
        fig: the figure; it is closed.
        alt: what the figure shows, in a sentence, numbers included.

    Raises:
        ValueError: the alternative text is empty.
    """
    from IPython.display import display

    if not alt.strip():
        raise ValueError("alt == '', must say what the figure shows.")
    data = {"image/png": _png(fig), "text/plain": alt}
    plt.close(fig)
    display(data, metadata={"image/png": {"alt": alt}}, raw=True)


def _png(fig: Figure) -> bytes:
    from PIL import Image

    raw, small = io.BytesIO(), io.BytesIO()
    fig.savefig(raw, format="png", dpi=150)
    Image.open(raw).convert("RGB").quantize(64).save(small, format="png", optimize=True)
    return small.getvalue()


def bars(table: pd.DataFrame, *, label: str, value: str, title: str, x: str, low: str | None = None,
         high: str | None = None) -> Figure:
    """Horizontal bars, one a row, with the interval drawn where `low` and `high` name its columns."""
    fig, axes = figure(title=title, x=x, y="", height=0.9 + 0.34 * max(len(table), 2))
    shown = table.iloc[::-1]
    names = shown[label].astype(str).tolist()
    axes.barh(names, shown[value], color=PALETTE[0], height=0.62)
    if low and high:
        axes.hlines(names, shown[low], shown[high], color="black", linewidth=1.4)
    axes.grid(axis="y", visible=False)
    return fig


def lines(table: pd.DataFrame, *, at: str, value: str, by: str | None = None, title: str, x: str, y: str,
          low: str | None = None, high: str | None = None) -> Figure:
    """Lines over `at`, one a value of `by`, told apart by marker and direct label; intervals as bands."""
    fig, axes = figure(title=title, x=x, y=y)
    groups = [("", table)] if by is None else list(table.groupby(by, sort=False, observed=True))
    for index, (name, group) in enumerate(groups):
        colour, marker = PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)]
        axes.plot(group[at], group[value], color=colour, marker=marker, markersize=4, linewidth=1.6)
        if low and high:
            axes.fill_between(group[at], group[low], group[high], color=colour, alpha=0.15, linewidth=0)
        if name != "" and len(group):
            axes.annotate(f" {name}", (group[at].iloc[-1], group[value].iloc[-1]), color=colour, va="center")
    return fig


def intervals(table: pd.DataFrame, *, label: str, value: str, low: str, high: str, title: str, x: str,
              margin: str | None = None) -> Figure:
    """Forest plot: a point and its interval a row, a line at zero, the margin as a tick where it is named."""
    fig, axes = figure(title=title, x=x, y="", height=0.9 + 0.36 * max(len(table), 2))
    shown = table.iloc[::-1]
    names = shown[label].astype(str).tolist()
    axes.hlines(names, shown[low], shown[high], color=PALETTE[0], linewidth=2)
    axes.plot(shown[value], names, "o", color=PALETTE[0])
    axes.axvline(0, color=GREY, linewidth=1)
    if margin:
        axes.plot(shown[margin], names, "|", color=PALETTE[1], markersize=14, markeredgewidth=2)
    return fig


def against_limit(table: pd.DataFrame, *, label: str, value: str, limit: str, title: str, x: str) -> Figure:
    """Bars with the limit of each row as a tick."""
    fig = bars(table, label=label, value=value, title=title, x=x)
    shown = table.iloc[::-1]
    fig.axes[0].plot(shown[limit], shown[label].astype(str), "|", color=PALETTE[1], markersize=16, markeredgewidth=2.5)
    return fig
