"""A policy mixed with the one that logged: it is shown in a share of the slots, and what was logged in the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from reclib.offpolicy import carryover, estimators, logs, support, values
from reclib.offpolicy.carryover import CarryOver, Memory
from reclib.offpolicy.support import USABLE, WEAK


@dataclass(frozen=True)
class Mixture:
    """What the value of any mixture follows from: sums by customer, and slots that are alike with their number.

    Attributes:
        estimator: the one to read of this policy.
        is_normalised: whether weights are divided by their mean.
        weight, answer, customer: of each slot that the policy might show; the answer is what its weight multiplies.
        n, own, model: slots, rewards, and what the direct model gives the policy, by customer.
        alike: weight, answer and reward of slots that are alike, with their count.
        unsupported: share of the policy that the log never shows.
        change: how the policy's value moves once it is lived, or None.
    """

    estimator: str
    is_normalised: bool
    weight: np.ndarray
    answer: np.ndarray
    customer: np.ndarray
    n: np.ndarray
    own: np.ndarray
    model: np.ndarray
    alike: pd.DataFrame
    unsupported: float
    change: CarryOver | None

    def value(self, share: float, largest: float, *, alpha: float = 0.05) -> dict:
        """Value the mixture: value, low and high, diagnostics, gate and reason; alone and uncut as `values` does it.

        Args:
            share: of the slots that the policy has, in [0, 1]; the value moves by being lived as far as this share goes.
            largest: what weights are cut to.
            alpha: error rate of the interval.
        """
        found = self._diagnosed(share, largest)
        gate, reason = support.gate(found)
        value, error = self._estimated(share, largest)
        if self.change is None:
            half = estimators.edge(alpha) * error
            return found | {"gate": gate, "reason": reason, "value": value, "low": value - half, "high": value + half}
        change = CarryOver(self.change.factor**share, self.change.error * share, self.change.beyond * share)
        if gate == USABLE and change.beyond > values.BEYOND:
            gate, reason = WEAK, values.beyond_reason(change)
        spread = float(values.spread(error / value, found["n_positives"], change, alpha)) if value > 0 else np.nan
        moved = change.factor * value
        return found | {"gate": gate, "reason": reason, "value": moved, "low": moved / spread, "high": moved * spread}

    def _estimated(self, share: float, largest: float) -> tuple[float, float]:
        """Value and its standard error, customers moving together."""
        weight, size, total = np.minimum(self.weight, largest), len(self.n), self.n.sum()
        earned = np.bincount(self.customer, weight * self.answer, size)
        below = np.bincount(self.customer, weight, size) if self.is_normalised else self.n
        whole = max(below.sum(), 1e-12)
        part, model, own = earned.sum() / whole, self.model.sum() / total, self.own.sum() / total
        sums = share * ((self.model - model * self.n) / total + (earned - part * below) / whole)
        sums = sums + (1 - share) * (self.own - own * self.n) / total
        error = np.sqrt((sums**2).sum() * size / max(size - 1, 1))
        return float(share * (model + part) + (1 - share) * own), float(error)

    def _diagnosed(self, share: float, largest: float) -> dict[str, float]:
        """Diagnostics of the mixture's weights."""
        cut = share * np.minimum(self.alike["weight"].to_numpy(), largest)
        weight = cut + 1 - share
        earned = cut * self.alike["answer"].to_numpy() + (1 - share) * self.alike["reward"].to_numpy()
        reward = np.divide(earned, weight, out=np.zeros_like(weight), where=weight > 0)
        found = support.diagnose(weight, reward, unsupported=share * self.unsupported, count=self.alike["count"].to_numpy())
        return {name: float(value) for name, value in found.items()}


def mix(log: pd.DataFrame, target: pd.DataFrame, *, alpha: float = 0.05, memory: Memory | None = None,
        read: str | None = None) -> Mixture | None:
    """Weigh a log once for all mixtures of a policy with it, by the estimator to read; None where they have nothing in common.

    Args:
        log, target, alpha, memory: as in `values.value_policy`.
        read: the estimator to read of this policy, where it is known.
    """
    away = logs.is_withdrawn(log, target)
    try:
        rows = estimators.weigh(log[~away], target)
    except ValueError:
        return None
    read = read or values.best(values.value_policy(log, target, policy="", alpha=alpha, memory=memory))["estimator"].iloc[0]
    lost = float(support.unsupported_mass(log[~away], target)["share"].sum())
    if read == "examined":
        moved = estimators.by_examination(log, target)
        rows = moved.assign(weight=moved["weight"] * len(moved) / len(rows), q=0.0, q_target=0.0)
        answer = told = rows["moved"].to_numpy("float64")
    else:
        answer = rows["reward"].to_numpy("float64")
        told = answer - rows["q"].to_numpy("float64") * (read in ("dr", "sndr"))
    weight, reward = rows["weight"].to_numpy("float64"), rows["reward"].to_numpy("float64")
    model = rows["q_target"].to_numpy("float64") * (read in ("dr", "sndr"))
    customer = logs.clusters_of(rows)
    customer, held = np.arange(len(rows)) if customer is None else customer, weight > 0
    alike = pd.DataFrame({"weight": weight, "answer": answer, "reward": reward}).value_counts(sort=False).reset_index()
    change = None if memory is None else carryover.carry_over(memory, target, away.to_numpy())
    return Mixture(read, read in ("snips", "sndr", "examined"), weight[held], told[held], customer[held], np.bincount(customer),
                   np.bincount(customer, reward), np.bincount(customer, model), alike, lost, change)
