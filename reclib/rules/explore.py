"""What moves under the sliders of the rules page: thresholds, and with them slates, value and prices."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reclib import plots
from reclib.allocation.problem import Quota
from reclib.report import percent
from reclib.rules import fields as fields_of
from reclib.rules import slates
from reclib.rules.plan import Case, Plan, sample
from reclib.rules.shared import groups
from reclib.rules.states import reduced

N_STEPS = 7


class Desk:
    """A sample of customers, ready to be decided again in a moment at tonight's prices of the shared limits.

    Attributes:
        controls: name -> (lowest, highest, step, start) of the thresholds that this source can move.
    """

    def __init__(self, case: Case, plan: Plan, *, n_sample: int = 800, seed: int = 0) -> None:
        rows = sample(case, n_sample, seed)
        self._plan, self._k, self._rows = plan, case.k, rows
        price = reduced(case, plan)[0]
        self._item = plan.problem.item[rows]
        self._net = self._table(np.where(np.isfinite(plan.score), plan.score - price, -np.inf), -np.inf)
        self._worth, self._price = self._table(plan.priority, 0.0), self._table(price, 0.0)
        self._columns, self.controls = {}, {}
        for name, control in {"margin_rate": (0.0, 0.4, 0.01, 0.0), "stock_on_hand": (0, 60, 3, 0)}.items():
            if not fields_of.fault(case.world, name):
                values = np.nan_to_num(np.asarray(case.pairs.column(name), dtype="float64"), nan=-1.0)
                self._columns[name], self.controls[f"least_{name}"] = self._table(values, -1.0), control
        self._groups = groups(case.world, "category") if not fields_of.fault(case.world, "category") else None
        if self._groups is not None:
            self.controls["most_of_a_category"] = (1, case.k, 1, min(2, case.k))
        if not self.controls:
            self.controls["slots"] = (1, case.k, 1, case.k)
        self._base = self._decided(**{name: control[3] for name, control in self.controls.items()})

    def draw(self, **values: float) -> tuple[Figure, str]:
        """Decide the sample again under these thresholds, and along the first threshold with the others held.

        Returns:
            The figure (left: value and filled slots along the first threshold; right: where the sliders stand) and its
            alternative text.
        """
        first, (low, high, _, _) = next(iter(self.controls.items()))
        steps = np.unique(np.round(np.linspace(low, high, N_STEPS), 3 if high <= 1 else 0))
        path = pd.DataFrame([self._shares(**(values | {first: float(step)})) for step in steps]).assign(at=steps)
        now = self._shares(**values)
        return plots.thresholds(path, now, moved=first, at=values[first]), self._said(values, now, first, path.iloc[-1])

    def _shares(self, **values: float) -> dict[str, float]:
        now = self._decided(**values)
        return {name: now[name] / self._base[name] if self._base[name] else 0.0 for name in now}

    def _said(self, values: dict[str, float], now: dict[str, float], first: str, last: pd.Series) -> str:
        kept = ", ".join(f"{name} {percent(now[name])}" for name in now)
        at = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in values.items())
        return (f"With {at} the sample keeps of the start: {kept}. With {first.replace('_', ' ')} at {last['at']:g} it would keep "
                f"{percent(last['value'])} of its value and {percent(last['filled slots'])} of its slots.")

    def _decided(self, **values: float) -> dict[str, float]:
        score = self._net
        for name, column in self._columns.items():
            floor = values.get(f"least_{name}", 0.0)
            score = np.where(column >= floor, score, -np.inf) if floor > 0 else score
        quotas = [quota for quota in self._plan.problem.quotas if self._groups is None
                  or not np.array_equal(quota.group, self._groups)]
        if self._groups is not None:
            quotas.append(Quota("most of a category", self._groups, int(values["most_of_a_category"])))
        shown = slates.greedy(self._item, score, tuple(quotas), int(values.get("slots", self._k))) > 0
        return {"value": float(self._worth[shown].sum()), "filled slots": float(shown.sum()),
                "different items": float(len(np.unique(self._item[shown]))),
                "paid to shared limits": float(self._price[shown].sum())}

    def _table(self, numbers: np.ndarray, empty: float) -> np.ndarray:
        problem = self._plan.problem
        table = np.full(problem.item.shape, empty)
        table[problem.pair_row, problem.pair_column] = numbers
        return table[self._rows]
