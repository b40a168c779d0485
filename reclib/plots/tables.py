"""Figures of any table: bars, lines, intervals, and bars against their limits."""

from __future__ import annotations

import pandas as pd
from matplotlib import ticker

from reclib.plots.base import GREY, PALETTE, Figure, figure, look, name_ends, rows


def bars(table: pd.DataFrame, *, label: str, value: str, title: str, x: str, low: str | None = None,
         high: str | None = None, in_percent: bool = False) -> Figure:
    """Horizontal bars, one a row, with the interval drawn where `low` and `high` name its columns."""
    table = _scaled(table, value, low, high, in_percent=in_percent)
    fig, axes = figure(title=title, x=x, y="", height=0.9 + 0.34 * max(len(table), 2))
    at = rows(axes, table[label])
    axes.barh(at, table[value], color=PALETTE[0], height=0.62)
    if low and high:
        axes.hlines(at, table[low], table[high], color="black", linewidth=1.4)
    return fig


def lines(table: pd.DataFrame, *, at: str, value: str, by: str | None = None, title: str, x: str, y: str,
          low: str | None = None, high: str | None = None, in_percent: bool = False) -> Figure:
    """Lines over `at`, one a value of `by`, told apart by marker and direct label; intervals as bands."""
    table = _scaled(table, value, low, high, in_percent=in_percent)
    fig, axes = figure(title=title, x=x, y=y)
    groups = [("", table)] if by is None else list(table.groupby(by, sort=False, observed=True))
    for index, (_, group) in enumerate(groups):
        colour, marker = look(index)
        axes.plot(group[at], group[value], color=colour, marker=marker, markersize=4, linewidth=1.6)
        if low and high:
            axes.fill_between(group[at], group[low], group[high], color=colour, alpha=0.15, linewidth=0)
    if pd.api.types.is_numeric_dtype(table[at]) and (table[at] % 1 == 0).all():
        axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    if by is not None:
        name_ends(axes, [(name, group[at].iloc[-1], group[value].iloc[-1]) for name, group in groups if len(group)])
    return fig


def intervals(table: pd.DataFrame, *, label: str, value: str, low: str, high: str, title: str, x: str,
              margin: str | None = None, in_percent: bool = False) -> Figure:
    """Forest plot: a point and its interval a row, a line at zero, the margin as a tick where it is named."""
    table = _scaled(table, value, low, high, margin, in_percent=in_percent)
    fig, axes = figure(title=title, x=x, y="", height=0.9 + 0.36 * max(len(table), 2))
    at = rows(axes, table[label])
    axes.hlines(at, table[low], table[high], color=PALETTE[0], linewidth=2)
    axes.plot(table[value], at, "o", color=PALETTE[0])
    axes.axvline(0, color=GREY, linewidth=1)
    if margin:
        axes.plot(table[margin], at, "|", color=PALETTE[1], markersize=14, markeredgewidth=2)
    return fig


def _scaled(table: pd.DataFrame, *columns: str | None, in_percent: bool) -> pd.DataFrame:
    return table.assign(**{name: 100 * table[name] for name in columns if name}) if in_percent else table


def against_limit(table: pd.DataFrame, *, label: str, value: str, limit: str, title: str, x: str) -> Figure:
    """Bars with the limit of each row as a tick."""
    fig = bars(table, label=label, value=value, title=title, x=x)
    fig.axes[0].plot(table[limit], range(len(table)), "|", color=PALETTE[1], markersize=16, markeredgewidth=2.5)
    return fig
