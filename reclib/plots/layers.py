"""Figures of one layer each: the data, the rules, the ranking's calibration, the experiment."""

from __future__ import annotations

import pandas as pd
from matplotlib.patches import Patch

from reclib.plots.base import (
    GREY,
    MARKERS,
    PALETTE,
    Figure,
    figure,
    look,
    nothing,
    panels,
    plt,
    rows,
    short,
)

SHORT_NAME = 24

def weekly(counts: pd.DataFrame) -> Figure:
    """Events by week and kind on a log scale; hollow markers are weeks without all their days.

    Args:
        counts: week, what, n, is_whole.
    """
    if counts.empty:
        return nothing("Nothing in this source has a time.")
    fig, axes = figure(title="Events by week and kind", x="week (Monday)", y="events a week, log scale", height=3.8)
    order = counts.groupby("what")["n"].sum().sort_values(ascending=False, kind="stable").index
    for index, what in enumerate(order):
        (colour, marker), group = look(index), counts[counts["what"] == what]
        part = group[~group["is_whole"]]
        axes.plot(group["week"], group["n"], color=colour, marker=marker, markersize=4, linewidth=1.4, label=what)
        axes.plot(part["week"], part["n"], marker, color=colour, markersize=5, markerfacecolor="white")
    axes.set_yscale("log")
    return _beside(fig, axes)


def _beside(fig: Figure, axes: plt.Axes) -> Figure:
    """The legend to the right of the panel, and dates that do not touch."""
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    axes.tick_params(axis="x", rotation=30)
    return fig


def long_tail(popular: pd.DataFrame) -> Figure:
    """Popularity by rank, and the share that the first items take together.

    Args:
        popular: rank, n, cumulative_share.
    """
    if popular.empty:
        return nothing("Nothing in this source happened to items.")
    fig, (left, right) = panels(2, width=7.0, height=3.3)
    left.set(title="Popularity by rank", xlabel="item rank, log scale", ylabel="events, log scale")
    right.set(title="What the first items take", xlabel="share of items, popular first (%)", ylabel="share of events (%)")
    left.loglog(popular["rank"], popular["n"], color=PALETTE[0], marker=".", markersize=3, linewidth=1)
    right.plot(100 * popular["rank"] / len(popular), 100 * popular["cumulative_share"], color=PALETTE[0])
    right.plot([0, 100], [0, 100], color=GREY, linestyle="--", linewidth=1)
    right.annotate("all items alike", (62, 55), color=GREY)
    return fig


def new_and_again(by_week: pd.DataFrame) -> Figure:
    """Pairs by week, those repeated below and those new above.

    Args:
        by_week: week, n_pairs, n_again.
    """
    if by_week.empty:
        return nothing("No customer of this source has a history.")
    fig, axes = figure(title="Pairs of customer and item by week: again and new", x="week (Monday)", y="pairs a week")
    again, new = by_week["n_again"], by_week["n_pairs"] - by_week["n_again"]
    axes.bar(by_week["week"], again, width=5.5, color=PALETTE[0], label="again")
    axes.bar(by_week["week"], new, width=5.5, bottom=again, color=PALETTE[5], hatch="//", edgecolor="white", label="new")
    return _beside(fig, axes)


def waterfall(steps: pd.DataFrame, *, title: str, x: str = "pairs (thousands)") -> Figure:
    """Rules: what is left after each layer of a `funnel` table, and in another colour what the layer removed."""
    fig, axes = figure(title=title, x=x, y="", height=0.9 + 0.3 * len(steps))
    shown = steps.sort_values("place")
    at, left, removed = rows(axes, shown["layer"].str.replace("_", " ")), shown["n_pairs"] / 1000, shown["n_removed"] / 1000
    axes.barh(at, left, color=PALETTE[0], height=0.62, label="left")
    axes.barh(at, removed, left=left, color=PALETTE[1], height=0.62, hatch="//", edgecolor="white", label="removed here")
    return _below(fig)


def price_list(table: pd.DataFrame, *, title: str, x: str) -> Figure:
    """Rules: what lifting each alone would gain (bar) and what it alone would cost (mark); open bars are not for sale."""
    fig, axes = figure(title=title, x=x, y="", height=0.9 + 0.34 * max(len(table), 2))
    at = rows(axes, table["rule_id"])
    colours = [PALETTE[0] if sold else "white" for sold in table["is_for_sale"]]
    axes.barh(at, table["drop_one_value"], color=colours, edgecolor=PALETTE[0], height=0.62)
    axes.plot(table["first_in_value"], at, "D", color=PALETTE[1], markersize=5, label="cost if it were the only rule")
    axes.axvline(0, color=GREY, linewidth=1)
    bars = [Patch(facecolor=colour, edgecolor=PALETTE[0], label=name) for colour, name in ((PALETTE[0], "gain if it alone is lifted"),
                                                                                          ("white", "the same, not for sale"))]
    return _below(fig, handles=[*bars, axes.lines[0]])


def _below(fig: Figure, **options: object) -> Figure:
    """The legend below the panel, where no bar can reach it."""
    fig.legend(loc="outside lower center", ncols=3, frameon=False, **options)
    return fig


def trade_offs(table: pd.DataFrame, *, title: str) -> Figure:
    """Rules: each control's measure against the share of value that is left, one panel a control."""
    controls = list(dict.fromkeys(table["control"]))
    n = max(len(controls), 1)
    fig, axes = panels(n, width=3.2 * n, height=3.0, squeeze=False, sharey=True)
    for place, control in enumerate(controls):
        own, panel = table[table["control"] == control], axes[0][place]
        panel.plot(own["measure"], 100 * own["value_share"], color=PALETTE[place], marker=MARKERS[place], markersize=5)
        panel.set(title=control, xlabel=own["counts"].iloc[0], ylabel="value left (%)" if place == 0 else "")
    fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    return fig


def reliability(table: pd.DataFrame) -> Figure:
    """Foretold against observed rates in bins of equal count, with Wilson intervals and the diagonal.

    Args:
        table: foretold, observed, low, high (shares).
    """
    fig, axes = figure(title="Does what is foretold come true? Bins of equal count, log scales",
                       x="foretold responses (%)", y="observed responses (%)", height=3.8)
    if len(table):
        shown = 100 * table[["foretold", "observed", "low", "high"]].clip(lower=1e-5)
        ends = [shown.min().min(), shown.max().max()]
        axes.plot(ends, ends, color=GREY, linestyle="--", linewidth=1)
        axes.vlines(shown["foretold"], shown["low"], shown["high"], color=PALETTE[0], linewidth=1.6)
        axes.plot(shown["foretold"], shown["observed"], MARKERS[0], color=PALETTE[0])
        axes.set(xscale="log", yscale="log")
    return fig


def foretold(table: pd.DataFrame, *, by: str, title: str, unit: str, in_percent: bool = False) -> Figure:
    """Forecasts against what came, both with their intervals, and the line of equality; hollow where they disagree.

    Args:
        table: forecast, low, high, observed, observed_low, observed_high, is_inside; rows without an outcome are left out.
        by: column whose values have a marker each.
        title: what is shown.
        unit: of both axes.
        in_percent: the numbers are shares and are drawn in per cent.
    """
    fig, axes = figure(title=title, x=f"foretold, {unit}", y=f"came, {unit}", width=4.2, height=4.4)
    names = ["forecast", "low", "high", "observed", "observed_low", "observed_high"]
    table = table[table["observed"].notna()]
    table = table.assign(**(table[names] * (100 if in_percent else 1)))
    numbers = table[names]
    axes.plot([numbers.min().min(), numbers.max().max()], [numbers.min().min(), numbers.max().max()], color=GREY, linestyle="--", linewidth=1)
    for index, (name, own) in enumerate(table.groupby(by, sort=False, observed=True)):
        colour, marker = look(index)
        axes.hlines(own["observed"], own["low"], own["high"], color=colour, linewidth=1.2, alpha=0.6)
        axes.vlines(own["forecast"], own["observed_low"], own["observed_high"], color=colour, linewidth=1.2, alpha=0.6)
        for is_inside, face in ((True, colour), (False, "white")):
            part = own[own["is_inside"].astype(bool) == is_inside]
            axes.plot(part["forecast"], part["observed"], marker, color=colour, markerfacecolor=face, label=str(name) if is_inside else "_")
    fig.legend(loc="outside lower center", ncols=2 if max(map(len, map(str, table[by])), default=0) < SHORT_NAME else 1, frameon=False)
    return fig


def forest(table: pd.DataFrame, *, title: str, x: str) -> Figure:
    """Effects as a scorecard draws them: one panel for what should get better, one for guardrails with their margins.

    Args:
        table: label, role, finding, lift, lift_low, lift_high and margin (missing where there is none), in percent.
        title: what is shown.
        x: unit of the axis.
    """
    is_guardrail = table["role"] == "guardrail"
    parts = {"": table[~is_guardrail], "Guardrails; a tick is the margin": table[is_guardrail]}
    parts = {name: part for name, part in parts.items() if len(part)}
    heights = [len(part) + 1 for part in parts.values()] or [1]
    fig, axes = plt.subplots(len(heights), 1, figsize=(7.0, 1.3 + 0.32 * sum(heights)), layout="constrained",
                             height_ratios=heights, squeeze=False)
    fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    for axis, (name, part) in zip(axes[:, 0], parts.items()):
        axis.set_title(name, fontsize=10, color=GREY)
        _effects(axis, part)
    axes[-1, 0].set_xlabel(x)
    return fig


def _effects(axis: plt.Axes, shown: pd.DataFrame) -> None:
    """Points with intervals: filled triangles where better or worse is shown, open circles elsewhere."""
    rows(axis, shown["label"])
    for at, row in enumerate(shown.itertuples()):
        kind = row.finding.split(",")[0]
        colour, marker = {"better": (PALETTE[2], "^"), "worse": (PALETTE[1], "v")}.get(kind, (PALETTE[0], "o"))
        axis.hlines(at, row.lift_low, row.lift_high, color=colour, linewidth=2)
        axis.plot(row.lift, at, marker, color=colour, markerfacecolor=colour if marker != "o" else "white")
        if pd.notna(row.margin):
            axis.plot(row.margin, at, "|", color="black", markersize=14, markeredgewidth=2)
    axis.axvline(0, color=GREY, linewidth=1)


def rates(table: pd.DataFrame, *, title: str) -> Figure:
    """Error rates in their bands: a grey band of what is allowed, the rate with its interval, red where outside.

    Args:
        table: check, scenario, rate, low, high, allowed_low, allowed_high, is_accepted.
        title: what is shown.
    """
    is_one = table["check"].nunique() == 1
    fig, axes = figure(title=title, x="share of simulated experiments, %", y="", height=0.9 + (0.3 if is_one else 0.46) * max(len(table), 2))
    at = rows(axes, table["scenario"])
    if not is_one:
        axes.set_yticks(at, [f"{short(check)}\n{short(scenario)}" for check, scenario in zip(table["check"], table["scenario"])])
    colours = [PALETTE[0] if fine else PALETTE[1] for fine in table["is_accepted"]]
    axes.barh(at, 100 * (table["allowed_high"] - table["allowed_low"]), left=100 * table["allowed_low"], color="#d1d5db", height=0.7)
    axes.hlines(at, 100 * table["low"], 100 * table["high"], colors=colours, linewidth=2)
    axes.scatter(100 * table["rate"], at, c=colours, marker="o", zorder=3)
    return fig
