"""Figures of the explorers: what stands under sliders, and in batch alone."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.plots.base import GREY, PALETTE, Figure, look, name_ends, panels, rows


def regraded(spread: pd.DataFrame, grades: pd.DataFrame, *, scale: tuple[float, float]) -> Figure:
    """Explorer of signals: grades of pairs now and at the start, and the grade that one event makes by its age.

    Args:
        spread: rating (low end of the bin), width, now and start (shares).
        grades: event_type, days, rating.
        scale: lowest and highest rating.
    """
    fig, (left, right) = panels(2, width=8.4, height=3.2)
    left.bar(spread["rating"], 100 * spread["now"], width=0.92 * spread["width"], align="edge", color=PALETTE[0])
    edges = np.append(spread["rating"], spread["rating"].iloc[-1] + spread["width"].iloc[-1])
    left.stairs(100 * spread["start"], edges, color="black", linestyle="--", linewidth=1.2)
    left.set(title="Grades of all pairs (dashed: at the start)", xlabel="rating", ylabel="share of pairs (%)")
    right.set(title="The grade that one event makes", xlabel="days ago", ylabel="rating", ylim=scale)
    ends = []
    for index, (name, own) in enumerate(grades.groupby("event_type", sort=False)):
        colour, marker = look(index)
        right.plot(own["days"], own["rating"], color=colour, marker=marker, markersize=3, linewidth=1.4)
        ends.append((name, own["days"].iloc[-1], own["rating"].iloc[-1]))
    name_ends(right, ends)
    return fig


def day(history: pd.DataFrame, offered: pd.DataFrame, ranked: pd.DataFrame, *, chosen: int) -> Figure:
    """Explorer of one customer: what they did, who offered what, and what became of each ranked item.

    Args:
        history: days_ago, event_type; a row for each category of `event_type`, empty or not.
        offered: source, n_offered, n_shown, a row for each.
        ranked: rank, state; a row for each category of `state`, empty or not.
        chosen: rank that is asked about.
    """
    fig, (left, middle, right) = panels(3, width=10.4, height=3.2)
    rows(left, history["event_type"].cat.categories)
    for index in range(len(history["event_type"].cat.categories)):
        at = history.loc[(history["event_type"].cat.codes == index).to_numpy(), "days_ago"]
        left.plot(at, np.full(len(at), index), look(index)[1], color=look(index)[0], markersize=4)
    left.set(title="What they did", xlabel="days ago")
    left.xaxis.set_inverted(True)
    at = rows(middle, offered["source"])
    middle.barh(at, offered["n_offered"], color=PALETTE[5], height=0.62)
    middle.barh(at, offered["n_shown"], color=PALETTE[1], height=0.62, hatch="//", edgecolor="white")
    middle.set(title="Who offered what (hatched: shown)", xlabel="items")
    rows(right, ranked["state"].cat.categories.str.replace("_", " "))
    place, is_shown = ranked["state"].cat.codes.to_numpy(), (ranked["state"] == "shown").to_numpy()
    right.scatter(ranked["rank"], place, marker="|", s=70, linewidth=1.4, color=np.where(is_shown, PALETTE[1], PALETTE[0]))
    right.axvline(chosen, color=GREY, linewidth=1, linestyle="--")
    right.plot(chosen, place[(ranked["rank"] == chosen).to_numpy()][0], "o", markersize=9, markerfacecolor="none",
               markeredgecolor="black")
    right.set(title="What became of each item", xlabel="rank before rules")
    return fig


def thresholds(path: pd.DataFrame, now: dict[str, float], *, moved: str, at: float) -> Figure:
    """Explorer of rules: value and filled slots along one threshold, and all measures where the thresholds stand.

    Args:
        path: at (threshold), value and filled slots (shares of the start).
        now: measure -> share of the start.
        moved: name of the threshold that `path` follows.
        at: where it stands.
    """
    fig, (left, right) = panels(2, width=8.4, height=3.0)
    for place, name in enumerate(("value", "filled slots")):
        left.plot(path["at"], 100 * path[name], color=look(place)[0], marker=look(place)[1], markersize=4, label=name)
    left.axvline(at, color=GREY, linewidth=1, linestyle="--")
    left.set(title="Along the first threshold", xlabel=moved.replace("_", " "), ylabel="of the start (%)", ylim=(0, None))
    left.legend(frameon=False)
    right.barh(rows(right, now), [100 * share for share in now.values()], color=PALETTE[0], height=0.6)
    right.axvline(100, color=GREY, linewidth=1)
    right.set(title="Where the thresholds stand", xlabel="of the start (%)")
    return fig


def planned(chances: pd.DataFrame, sizes: pd.DataFrame, *, effect: float, chance: float, weeks: float, detectable: float,
            unit: str) -> Figure:
    """Explorer of an experiment to come: chance of finding an effect, and the effect found after so many weeks.

    Args:
        chances: effect (%), power (share).
        sizes: weeks, detectable, low and high (% found with 80, 50 and 90 % power).
        effect, chance: where the sliders stand on the left.
        weeks, detectable: where they stand on the right.
        unit: of effects.
    """
    fig, (left, right) = panels(2, width=8.4, height=3.2)
    left.plot(chances["effect"], 100 * chances["power"], color=PALETTE[0])
    left.axhline(80, color=GREY, linewidth=1, linestyle="--")
    left.plot(effect, 100 * chance, "D", color=PALETTE[1], markersize=7)
    left.annotate(f"{100 * chance:.0f} %", (effect, 100 * chance), textcoords="offset points", xytext=(8, -10), color=PALETTE[1])
    left.set(title="Chance of finding an effect", xlabel=f"true effect ({unit})", ylabel="chance (%)", ylim=(0, 104))
    right.fill_between(sizes["weeks"], sizes["low"], sizes["high"], color=PALETTE[0], alpha=0.18, linewidth=0)
    right.plot(sizes["weeks"], sizes["detectable"], color=PALETTE[0])
    right.plot(weeks, detectable, "D", color=PALETTE[1], markersize=7)
    right.annotate(f"{detectable:.3g} %", (weeks, detectable), textcoords="offset points", xytext=(6, 6), color=PALETTE[1])
    right.set(title="Effect found at 80 % (band: 50 to 90 %)", xlabel="weeks of intake", ylabel=unit, ylim=(0, None))
    right.locator_params(axis="x", integer=True)
    return fig


def what_if(shares: pd.DataFrame, clips: pd.DataFrame, *, share: float, clip: float, own: float) -> Figure:
    """Explorer of off-policy values: along the share of the new policy in a mixture, and along the largest weight.

    Args:
        shares: at (share of the policy), value, low, high, gate; where the gate refuses, only a cross on the axis is drawn.
        clips: at (largest weight), value, low, high, gate.
        share, clip: where the sliders stand.
        own: value of the log itself.
    """
    fig, pair = panels(2, width=8.4, height=3.4, sharey=True)
    looks = {"usable": (PALETTE[2], "o"), "weak": (PALETTE[4], "^")}
    for panel, table, at, scale in zip(pair, (shares, clips), (share, clip), (100, 1)):
        panel.axhline(100 * own, color=PALETTE[0], linewidth=1.2, label="the log's own")
        for gate, (colour, marker) in looks.items():
            named = table[table["gate"] == gate]
            if len(named):
                panel.vlines(scale * named["at"], 100 * named["low"], 100 * named["high"], color=colour, linewidth=1.8)
                panel.plot(scale * named["at"], 100 * named["value"], marker, color=colour, markersize=6, label=gate)
        refused = scale * table.loc[table["gate"] == "refuse", "at"]
        if len(refused):
            panel.plot(refused, np.full(len(refused), 0.03), "x", color=GREY, transform=panel.get_xaxis_transform(),
                       label="refused by the gate, no value")
        panel.axvline(scale * at, color="black", linewidth=1, linestyle="--")
    pair[0].set(title="Mixed with what was logged", xlabel="share of the policy (%)", ylabel="answers a slot (%)")
    pair[1].set(title="With its weights cut", xlabel="largest weight, log scale", xscale="log")
    named = {name: handle for panel in pair for handle, name in zip(*panel.get_legend_handles_labels())}
    fig.legend(list(named.values()), list(named), loc="outside lower center", ncols=3, frameon=False)
    return fig
