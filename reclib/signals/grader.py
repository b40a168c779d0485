"""All pairs graded again, in a moment, under other weights and another half-life."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reclib import plots
from reclib.signals.ratings import bounded, latest_ratings
from reclib.signals.shared import age_in_days, rounded, seen

N_BEST = 10


class Grader:
    """The events of all pairs, ready to be graded again in a moment under other weights and another half-life.

    Attributes:
        controls: name -> (lowest, highest, step, start): the half-life, and the weight of each type that occurs.
    """

    def __init__(self, events: pd.DataFrame, weights: dict[str, float], *, half_life_days: float, as_of: pd.Timestamp,
                 scale: tuple[float, float]) -> None:
        known = seen(events, as_of, ["customer_id", "item_id", "event_type", "value"])
        kind = known["event_type"].astype("str")
        kept = kind.isin([*weights, "rating"]).to_numpy()
        known, kind = known[kept], kind[kept]
        self._names = [name for name in weights if (kind == name).any()]
        self._kind = kind.map({name: at for at, name in enumerate(self._names)} | {"rating": len(self._names)}).to_numpy("int64")
        customer, item = pd.factorize(known["customer_id"], sort=True)[0], pd.factorize(known["item_id"], sort=True)[0]
        pairs, self._pair = np.unique(customer * (item.max(initial=0) + 1) + item, return_inverse=True)
        self._customer = pairs // (item.max(initial=0) + 1)
        self._first = np.searchsorted(self._customer, self._customer)
        self._age, self._scale = age_in_days(known, as_of), scale
        latest = latest_ratings(known[(kind == "rating").to_numpy()], scale)
        self._given = np.full(len(pairs), np.nan)
        rated = known[["customer_id", "item_id"]].assign(pair=self._pair).merge(latest, on=["customer_id", "item_id"], how="inner")
        self._given[rated["pair"]] = rated["explicit"]
        self.controls = {"half_life_days": (min(7, half_life_days), max(365, 2 * round(half_life_days)), 1, half_life_days)}
        edge = max([10.0, *(abs(weight) for weight in weights.values())])
        self.controls |= {f"weight_{name}": (-edge, edge, 0.5, float(weights[name])) for name in self._names}
        self._start = self.grade(**{name: control[3] for name, control in self.controls.items()})
        self._best = self._top(self._start)

    def grade(self, *, half_life_days: float, **weights: float) -> np.ndarray:
        """The rating of each pair, by customer and item; missing where no event of it weighs anything."""
        points = np.array([weights[f"weight_{name}"] for name in self._names] + [0.0])[self._kind]
        decayed, n = rounded(points * np.exp2(-self._age / half_life_days)), len(self._customer)
        strength, refusal = (np.bincount(self._pair, part, n) for part in (decayed, np.minimum(decayed, 0.0)))
        low, half = self._scale[0], (self._scale[1] - self._scale[0]) / 2
        graded = np.where(np.bincount(self._pair, points != 0, n) > 0, low + half + half * bounded(strength), np.nan)
        explicit = np.maximum(self._given + half * bounded(refusal), low)
        return rounded(np.where(np.isnan(self._given), graded, explicit))

    def draw(self, **values: float) -> tuple[Figure, str]:
        """The spread of grades, and the grade of a single event by its age, under these weights."""
        rating = self.grade(**values)
        edges = np.linspace(*self._scale, 17)
        shares = [np.histogram(each, edges)[0] / max(np.isfinite(each).sum(), 1) for each in (rating, self._start)]
        spread = pd.DataFrame({"rating": edges[:-1], "width": np.diff(edges), "now": shares[0], "start": shares[1]})
        days = np.arange(0, 181, 15)
        faded = np.exp2(-days / values["half_life_days"])
        low, half = self._scale[0], (self._scale[1] - self._scale[0]) / 2
        single = [pd.DataFrame({"event_type": name, "days": days,
                                "rating": low + half + half * bounded(values[f"weight_{name}"] * faded)}) for name in self._names]
        grades = pd.concat(single, ignore_index=True) if single else pd.DataFrame({"event_type": [], "days": [], "rating": []})
        return plots.regraded(spread, grades, scale=self._scale), self._said(rating, values["half_life_days"])

    def _said(self, rating: np.ndarray, half_life_days: float) -> str:
        graded = rating[np.isfinite(rating)]
        if not len(graded):
            return "With these weights no event counts, so no pair has a grade."
        below = float((graded < sum(self._scale) / 2).mean())
        kept = float((self._best & self._top(rating)).sum() / max(self._best.sum(), 1))
        return (f"With a half-life of {half_life_days:g} days and these weights {len(graded):,} pairs have a grade: the median is "
                f"{np.median(graded):.3f}, {100 * below:.1f} % lie below the middle, and of the customers' {N_BEST} best items "
                f"each {100 * kept:.1f} % are those of the start.")

    def _top(self, rating: np.ndarray) -> np.ndarray:
        """Mark the best pairs of each customer."""
        low, high = self._scale
        behind = np.nan_to_num(high - rating, nan=high - low + 1)
        order = np.argsort(self._customer * (high - low + 2) + behind, kind="stable")
        best = np.zeros(len(rating), dtype=bool)
        best[order[np.arange(len(rating)) - self._first < N_BEST]] = True
        return best & np.isfinite(rating)
