"""Figures in one visual language: table in, figure out, shown with words for those who cannot see it.

The palette is Okabe and Ito's, safe for colour blindness; series differ by marker or dash as well as by colour.
Figures that share the language: `figure` makes an empty one, `show` is the only way to put one on a page.
"""

from __future__ import annotations

import io

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
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


def show(fig: Figure, alt: str, *, is_live: bool = False) -> None:
    """Put a figure on the page as a small PNG with its alternative text; one without data becomes a sentence.

    Args:
        fig: the figure; it is closed.
        alt: what the figure shows, in a sentence, numbers included.
        is_live: someone waits for it: quick rather than small.

    Raises:
        ValueError: the alternative text is empty.
    """
    from IPython.display import display

    if not alt.strip():
        raise ValueError("alt == '', must say what the figure shows.")
    if not any(np.isfinite(axes.dataLim.get_points()).all() for axes in fig.axes):
        plt.close(fig)
        display({"text/markdown": "Nothing to draw."}, raw=True)
        return
    data = {"image/png": _quick_png(fig) if is_live else _png(fig), "text/plain": alt}
    plt.close(fig)
    display(data, metadata={"image/png": {"alt": alt}}, raw=True)


def _png(fig: Figure) -> bytes:
    from PIL import Image

    raw, small = io.BytesIO(), io.BytesIO()
    fig.savefig(raw, format="png", dpi=150)
    Image.open(raw).convert("RGB").quantize(64).save(small, format="png", optimize=True)
    return small.getvalue()


def _quick_png(fig: Figure) -> bytes:
    raw = io.BytesIO()
    fig.savefig(raw, format="png", dpi=100, pil_kwargs={"compress_level": 1})
    return raw.getvalue()


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
        group, colour = counts[counts["what"] == what], PALETTE[index % len(PALETTE)]
        marker, part = MARKERS[(index + index // len(PALETTE)) % len(MARKERS)], group[~group["is_whole"]]
        axes.plot(group["week"], group["n"], color=colour, marker=marker, markersize=4, linewidth=1.4, label=what)
        axes.plot(part["week"], part["n"], marker, color=colour, markersize=5, markerfacecolor="white")
    axes.set_yscale("log")
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
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.0, 3.3), layout="constrained")
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
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    axes.tick_params(axis="x", rotation=30)
    return fig


def nothing(why: str) -> Figure:
    """A strip that says why there is no figure."""
    fig, axes = plt.subplots(figsize=(7.0, 0.6), layout="constrained")
    axes.axis("off")
    axes.text(0.0, 0.5, why, va="center", color=GREY, transform=axes.transAxes)
    return fig


def waterfall(steps: pd.DataFrame, *, title: str, x: str = "pairs (thousands)") -> Figure:
    """Rules: what is left after each layer of a `funnel` table, and in another colour what the layer removed."""
    fig, axes = figure(title=title, x=x, y="", height=0.9 + 0.3 * len(steps))
    shown = steps.sort_values("place", ascending=False)
    names = shown["layer"].tolist()
    axes.barh(names, shown["n_pairs"] / 1000, color=PALETTE[0], height=0.62, label="left")
    axes.barh(names, shown["n_removed"] / 1000, left=shown["n_pairs"] / 1000, color=PALETTE[1], height=0.62, hatch="//",
              edgecolor="white", label="removed here")
    axes.legend(frameon=False, loc="lower right")
    axes.grid(axis="y", visible=False)
    return fig


def price_list(table: pd.DataFrame, *, title: str, x: str) -> Figure:
    """Rules: what lifting each alone would gain (bar) and what it alone would cost (mark); open bars are not for sale."""
    fig, axes = figure(title=title, x=x, y="", height=0.9 + 0.34 * max(len(table), 2))
    shown = table.iloc[::-1]
    colours = [PALETTE[0] if sold else "white" for sold in shown["is_for_sale"]]
    axes.barh(shown["rule_id"], shown["drop_one_value"], color=colours, edgecolor=PALETTE[0], height=0.62)
    axes.plot(shown["first_in_value"], shown["rule_id"], "D", color=PALETTE[1], markersize=5, label="alone")
    axes.axvline(0, color=GREY, linewidth=1)
    axes.legend(frameon=False, loc="lower right")
    axes.grid(axis="y", visible=False)
    return fig


def trade_offs(table: pd.DataFrame, *, title: str) -> Figure:
    """Rules: each control's measure against the share of value that is left, one panel a control."""
    controls = list(dict.fromkeys(table["control"]))
    fig, axes = plt.subplots(1, max(len(controls), 1), figsize=(3.2 * max(len(controls), 1), 3.0), layout="constrained", squeeze=False)
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


def forest(table: pd.DataFrame, *, title: str, x: str) -> Figure:
    """Effects as a scorecard draws them: one panel for what should get better, one for guardrails with their margins.

    Args:
        table: label, role, finding, lift, lift_low, lift_high and margin (missing where there is none), in percent.
        title: what is shown.
        x: unit of the axis.
    """
    is_guardrail = table["role"] == "guardrail"
    panels = [(name, part) for name, part in (("", table[~is_guardrail]), ("Guardrails; a tick is the margin", table[is_guardrail])) if len(part)]
    heights = [len(part) + 1 for _, part in panels] or [1]
    fig, axes = plt.subplots(max(len(panels), 1), 1, figsize=(7.0, 1.3 + 0.32 * sum(heights)), layout="constrained",
                             height_ratios=heights, squeeze=False)
    fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    for axis, (name, part) in zip(axes[:, 0], panels):
        axis.set_title(name, fontsize=10, color=GREY)
        _effects(axis, part.iloc[::-1])
    axes[-1, 0].set_xlabel(x)
    return fig


def _effects(axis: plt.Axes, shown: pd.DataFrame) -> None:
    """Points with intervals: filled triangles where better or worse is shown, open circles elsewhere."""
    names = shown["label"].astype(str).tolist()
    for at, row in enumerate(shown.itertuples()):
        kind = row.finding.split(",")[0]
        colour, marker = {"better": (PALETTE[2], "^"), "worse": (PALETTE[1], "v")}.get(kind, (PALETTE[0], "o"))
        axis.hlines(at, row.lift_low, row.lift_high, color=colour, linewidth=2)
        axis.plot(row.lift, at, marker, color=colour, markerfacecolor=colour if marker != "o" else "white")
        if pd.notna(row.margin):
            axis.plot(row.margin, at, "|", color="black", markersize=14, markeredgewidth=2)
    axis.axvline(0, color=GREY, linewidth=1)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(-0.6, len(names) - 0.4)
    axis.grid(axis="y", visible=False)


def rates(table: pd.DataFrame, *, title: str) -> Figure:
    """Error rates in their bands: a grey band of what is allowed, the rate with its interval, red where outside.

    Args:
        table: check, scenario, rate, low, high, allowed_low, allowed_high, is_accepted.
        title: what is shown.
    """
    fig, axes = figure(title=title, x="share of simulated experiments, %", y="", height=0.9 + 0.3 * max(len(table), 2))
    shown = table.iloc[::-1].reset_index(drop=True)
    colours = [PALETTE[0] if fine else PALETTE[1] for fine in shown["is_accepted"]]
    axes.barh(shown.index, 100 * (shown["allowed_high"] - shown["allowed_low"]), left=100 * shown["allowed_low"], color="#d1d5db", height=0.7)
    axes.hlines(shown.index, 100 * shown["low"], 100 * shown["high"], colors=colours, linewidth=2)
    axes.scatter(100 * shown["rate"], shown.index, c=colours, marker="o", zorder=3)
    axes.set_yticks(shown.index, (shown["check"] + ", " + shown["scenario"]).tolist(), fontsize=8)
    axes.grid(axis="y", visible=False)
    return fig


def regraded(spread: pd.DataFrame, grades: pd.DataFrame) -> Figure:
    """Explorer of signals: grades of pairs now and at the start, and the grade that one event makes by its age.

    Args:
        spread: rating (low end of the bin), width, now and start (shares).
        grades: event_type, days, rating.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.2), layout="constrained")
    left.bar(spread["rating"], 100 * spread["now"], width=0.92 * spread["width"], align="edge", color=PALETTE[0], label="now")
    edges = np.append(spread["rating"], spread["rating"].iloc[-1] + spread["width"].iloc[-1])
    left.stairs(100 * spread["start"], edges, color="black", linestyle="--", linewidth=1.2, label="at the start")
    left.set(title="Grades of all pairs", xlabel="rating", ylabel="share of pairs (%)")
    left.legend(frameon=False)
    right.set(title="The grade that one event makes", xlabel="days ago", ylabel="rating")
    for index, (name, own) in enumerate(grades.groupby("event_type", sort=False)):
        colour, marker = PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)]
        right.plot(own["days"], own["rating"], color=colour, marker=marker, markersize=3, linewidth=1.4, label=name)
    if len(grades):
        right.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def day(history: pd.DataFrame, offered: pd.DataFrame, ranked: pd.DataFrame, *, chosen: int | None) -> Figure:
    """Explorer of one customer: what they did, who offered what, and what became of each ranked item.

    Args:
        history: days_ago, event_type.
        offered: source, n_offered, n_shown.
        ranked: rank, state, best first.
        chosen: rank that is asked about, or None.
    """
    fig, axes = plt.subplots(1, 3, figsize=(10.4, 3.2), layout="constrained")
    names = history["event_type"].value_counts().sort_index().index.tolist()
    for index, name in enumerate(names):
        at = history.loc[history["event_type"] == name, "days_ago"]
        axes[0].plot(at, np.full(len(at), index), MARKERS[index % len(MARKERS)], color=PALETTE[index % len(PALETTE)], markersize=4)
    axes[0].set(title="What they did", xlabel="days ago", yticks=range(len(names)), yticklabels=names)
    axes[0].invert_xaxis()
    shown = offered.iloc[::-1]
    axes[1].barh(shown["source"], shown["n_offered"], color=PALETTE[5], height=0.62, label="offered")
    axes[1].barh(shown["source"], shown["n_shown"], color=PALETTE[1], height=0.62, hatch="//", edgecolor="white", label="shown")
    axes[1].set(title="Who offered what", xlabel="items")
    axes[1].grid(axis="y", visible=False)
    if len(offered):
        axes[1].legend(frameon=False, loc="lower right")
    states = list(dict.fromkeys(ranked["state"]))
    axes[2].scatter(ranked["rank"], [states.index(state) for state in ranked["state"]], marker="|", s=70, linewidth=1.4,
                    color=[PALETTE[1] if state == "shown" else PALETTE[0] for state in ranked["state"]])
    if chosen is not None:
        axes[2].axvline(chosen, color=GREY, linewidth=1, linestyle="--")
        axes[2].plot(chosen, states.index(ranked.set_index("rank")["state"][chosen]), "o", markersize=9, markerfacecolor="none",
                     markeredgecolor="black")
    axes[2].set(title="What became of each item", xlabel="rank before rules", yticks=range(len(states)),
                yticklabels=[state.replace("_", " ") for state in states])
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
    fig, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.2), layout="constrained")
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
    return fig


def what_if(shares: pd.DataFrame, clips: pd.DataFrame, *, share: float, clip: float, own: float) -> Figure:
    """Explorer of off-policy values: along the share of the new policy in a mixture, and along the largest weight.

    Args:
        shares: at (share of the policy), value, low, high, gate; where the gate refuses, only a cross on the axis is drawn.
        clips: at (largest weight), value, low, high, gate.
        share, clip: where the sliders stand.
        own: value of the log itself.
    """
    fig, panels = plt.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained", sharey=True)
    looks = {"usable": (PALETTE[2], "o"), "weak": (PALETTE[4], "^")}
    for panel, table, at, scale in zip(panels, (shares, clips), (share, clip), (100, 1)):
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
    panels[0].set(title="Mixed with what was logged", xlabel="share of the policy (%)", ylabel="answers a slot (%)")
    panels[1].set(title="With its weights cut", xlabel="largest weight, log scale", xscale="log")
    named = {name: handle for panel in panels for handle, name in zip(*panel.get_legend_handles_labels())}
    fig.legend(list(named.values()), list(named), loc="outside lower center", ncols=3, frameon=False)
    return fig
