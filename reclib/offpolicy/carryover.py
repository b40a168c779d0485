"""What a log cannot show by itself: a policy that is lived shows the same again and again, and no week is like another.

A value from a log is that of a slate shown once, to customers as the log left them. Lived, the policy shapes its own answers:

    value lived = value in the log x exp(share x slope x (mean log(1 + showings) lived - the same in the log))

where showings are those of the item to the customer in the days before. The log draws at random, so it tells the slope: by
chance some customers had seen an item more often than others who were as likely to see it (Poisson regression with robust
errors, Wooldridge 2010, 18.2). How much of it customers still remember at the launch no log tells: every share from none to
all is taken as likely, with mean 1 / 2 and variance 1 / 12. The next week is another draw of the weeks, whose spread beyond
luck the log tells as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from reclib.offpolicy import estimators
from reclib.offpolicy.logs import DAY, clusters_of, context_of

WINDOW = pd.Timedelta(days=14)
NEEDED = {"customer_id", "item_id", "position", "p_shown", "p_in_slate", "reward", DAY}
_STEPS, _PRIOR, _KNOWN, _ENOUGH = 8, 2.0, 0.99, 20


@dataclass(frozen=True)
class Memory:
    """What a log tells of its own past.

    Attributes:
        log: the slots asked, with looked (how much their position is looked at), start (of the days that are lived as if the
            policy began then) and n_earlier (visits of the customer since).
        shown: these slots and those of the days before.
        slope, slope_error: change of log reward by log(1 + showings), and its standard error.
        between: variance of the log level from week to week, of all items together; by_item: of each item by itself.
        n_weeks: weeks asked.
        known: showings that one slot in a hundred exceeds.
    """

    log: pd.DataFrame
    shown: pd.DataFrame
    slope: float
    slope_error: float
    between: float
    by_item: float
    n_weeks: int
    known: float


@dataclass(frozen=True)
class CarryOver:
    """How a value moves from the log to its being lived: factor, error (of its logarithm), and the share of slots that would
    be repeated more often than the log knows."""

    factor: float
    error: float
    beyond: float


def remember(log: pd.DataFrame, shown: pd.DataFrame, *, days: int = 7) -> Memory | None:
    """Learn from a log how repetition and weeks move its rewards.

    Args:
        log: the slots that a policy is asked of, with `reward` and `p_in_slate`.
        shown: all slots logged; earlier ones count as showings.
        days: days that a policy is lived.

    Returns:
        The memory; None where the log names no customers, times or chances in the slate, or holds too few rewards.
    """
    if not set(log) >= NEEDED or log["customer_id"].isna().any() or log["reward"].sum() < _ENOUGH:
        return None
    since = log[DAY].min() - WINDOW - pd.Timedelta(days=days)
    shown = shown.loc[(shown[DAY] >= since) & (shown[DAY] <= log[DAY].max()), ["customer_id", "item_id", DAY]]
    log = log.assign(looked=log["position"].map(estimators.examination(log))).merge(
        _visits(shown, days), on=["customer_id", DAY], how="left", validate="many_to_one")
    n_before = showings(shown, log, since=log[DAY] - WINDOW, until=log[DAY])
    reward, repeated = log["reward"].to_numpy("float64"), np.log1p(n_before)
    expected = _expected(log)
    slope, error = _slope(reward, expected, repeated, clusters_of(log)) if repeated.any() else (0.0, 0.0)
    mean = expected * np.exp(slope * repeated)
    week = (log[DAY].max() - log[DAY]).dt.days.to_numpy() // 7
    return Memory(log, shown, slope, error, between=_excess(reward, mean, np.zeros(len(log)), week),
                  by_item=_excess(reward, mean, log["item_id"].to_numpy(), week), n_weeks=len(np.unique(week)),
                  known=float(np.quantile(n_before, _KNOWN)))


def carry_over(memory: Memory, target: pd.DataFrame, is_away: np.ndarray) -> CarryOver | None:
    """Say how the value of slates moves once they are lived.

    At each visit of the log the slate is taken to have been shown at every visit since the days began, and before that
    what the log showed.

    Args:
        memory: of the log that the slates are asked of.
        target: one item a customer and position.
        is_away: slots of the log in whose place the item was not on offer.

    Returns:
        The change; None where the target is not a slate a customer, or has no place in the log.
    """
    if set(context_of(target)) != {"customer_id", "position"} or target.duplicated(["customer_id", "position"]).any():
        return None
    columns = ["customer_id", "position", "looked", "start", "n_earlier", DAY]
    places = memory.log.loc[~is_away, columns].merge(target, on=["customer_id", "position"], validate="many_to_one")
    if places.empty:
        return None
    first = places[DAY] - WINDOW
    in_log = showings(memory.shown, places, since=first, until=places[DAY])
    lived = showings(memory.shown, places, since=first, until=places["start"].clip(lower=first))
    lived = lived + places["n_earlier"].to_numpy() * (1 - is_away.mean())
    more = float(np.log1p(lived).mean() - np.log1p(in_log).mean())
    shares = places.groupby("item_id")["looked"].sum() / places["looked"].sum()
    weeks = (1 + 1 / memory.n_weeks) * (memory.between + memory.by_item * float((shares**2).sum()))
    whole = memory.slope * more
    error = np.sqrt((memory.slope_error * more) ** 2 + whole**2 / 12 + weeks)
    return CarryOver(float(np.exp(whole / 2)), float(error), float((lived > memory.known).mean()))


def showings(shown: pd.DataFrame, asked: pd.DataFrame, *, since: pd.Series, until: pd.Series) -> np.ndarray:
    """Count how often each pair asked was shown from `since` on and before `until`."""
    origin, second, n = shown[DAY].min() - 2 * WINDOW, pd.Timedelta(seconds=1), len(shown)
    customer, item = (pd.factorize(pd.concat([shown[name], asked[name]]))[0] for name in ("customer_id", "item_id"))
    pair = customer.astype("int64") * (item.max(initial=0) + 1) + item
    span = max(int((moments.max() - origin) // second) for moments in (shown[DAY], until)) + 2
    keys = np.sort(pair[:n] * span + ((shown[DAY] - origin) // second).to_numpy())
    first, last = (pair[n:] * span + np.maximum((moments - origin) // second, 0).to_numpy() for moments in (since, until))
    return np.searchsorted(keys, last) - np.searchsorted(keys, first)


def _visits(shown: pd.DataFrame, days: int) -> pd.DataFrame:
    """Cut the days into runs of `days`, back from the last: start of each visit's run, and the customer's earlier visits in it."""
    visits = shown[["customer_id", DAY]].drop_duplicates().sort_values([DAY, "customer_id"], ignore_index=True)
    end = visits[DAY].max().floor("D") + pd.Timedelta(days=1)
    run = (end - visits[DAY]) // pd.Timedelta(days=days)
    return visits.assign(start=end - (run + 1) * pd.Timedelta(days=days), n_earlier=visits.groupby(["customer_id", run]).cumcount())


def _expected(log: pd.DataFrame) -> np.ndarray:
    """Reward foretold by position, item and chance of being in the slate, each a factor; rare ones lean to the mean."""
    expected = log["looked"].to_numpy("float64")
    for key in (log["item_id"], np.round(2 * np.log2(log["p_in_slate"]))):
        sums = pd.DataFrame({"top": log["reward"], "below": expected}).groupby(key.to_numpy()).sum()
        factor = (sums["top"] + _PRIOR) / (sums["below"] + _PRIOR * sums["below"].sum() / sums["top"].sum())
        expected = expected * key.map(factor).to_numpy()
    return expected


def _slope(reward: np.ndarray, expected: np.ndarray, x: np.ndarray, clusters: np.ndarray) -> tuple[float, float]:
    """Poisson regression of rewards on x by Newton steps; the error is robust to rows of one customer moving together."""
    columns, found = np.column_stack([np.ones_like(x), x]), np.zeros(2)
    for _ in range(_STEPS):
        mean = expected * np.exp(columns @ found)
        information = columns.T @ (columns * mean[:, None])
        found = found + np.linalg.solve(information, columns.T @ (reward - mean))
    sums = np.column_stack([np.bincount(clusters, column * (reward - mean)) for column in columns.T])
    bread = np.linalg.inv(information)
    return float(found[1]), float(np.sqrt((bread @ (sums.T @ sums) @ bread)[1, 1]))


def _excess(reward: np.ndarray, expected: np.ndarray, group: np.ndarray, week: np.ndarray) -> float:
    """Variance of the weeks of a group about its mean beyond Poisson luck, on the relative scale; at least 0.

    sum of (r - m)^2 - m (1 - s) over sum of m^2 (1 - s), where m is the group's reward spread over its weeks as expected
    and s the share of the week.
    """
    cells = pd.DataFrame({"r": reward, "e": expected}).groupby([group, week]).sum()
    whole = cells.groupby(level=0).transform("sum")
    share = cells["e"] / whole["e"]
    mean = share * whole["r"]
    top, below = ((cells["r"] - mean) ** 2 - mean * (1 - share)).sum(), (mean**2 * (1 - share)).sum()
    return max(float(top / below), 0.0) if below > 0 else 0.0
