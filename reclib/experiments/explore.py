"""What moves under the sliders of the experiments page: the plan of a test to come, and policies valued by the log."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reclib import plots
from reclib.experiments import power
from reclib.experiments.page import Reading
from reclib.offpolicy import support
from reclib.offpolicy.logs import slates_of, with_rewards
from reclib.offpolicy.mixture import mix
from reclib.offpolicy.values import best, memory_of, questions
from reclib.report import number, percent

WEEKS = 12
N_CLIPS = 8


class Planner:
    """Sample size, duration and detectable effect, from how much the metrics of this experiment varied.

    Attributes:
        controls: metric, customers who enter a week, weeks of intake, share of them treated, true effect; none where no
            success metric could be read.
    """

    def __init__(self, reading: Reading) -> None:
        own = reading.readout.reindex(columns=[*reading.readout.columns.union(["se"], sort=False)])
        own = own[own["is_primary"].astype("bool") & (own["role"] == "success")]
        own = own[(own["se"] > 0) & (own["mean_control"] != 0)].drop_duplicates("metric")
        self._alpha = reading.plan.alpha if len(own) else 0.05
        self._why = reading.why or "No success metric could be read, so no test can be planned from it."
        spread = own["se"] / own["mean_control"].abs() / np.sqrt(1 / own["n_arm"] + 1 / own["n_control"])
        self._spread = dict(zip(own["metric"], spread.astype("float64")))
        self.controls = {}
        if self._spread:
            weekly = max(round(float((own["n_arm"] + own["n_control"]).iloc[0]) / 4), 2)
            step = 10 ** max(len(str(weekly)) - 2, 0)
            weekly = max(round(weekly / step) * step, step)
            effect = 100 * (reading.plan.planned_effect or 0.05)
            self.controls = {"metric": list(self._spread), "customers_a_week": (step, 5 * weekly, step, weekly),
                             "weeks": (1, WEEKS, 1, 4), "share_treated": (0.05, 0.95, 0.05, 0.5),
                             "effect_percent": (0.5, max(20.0, 2 * effect), 0.5, effect)}

    def draw(self, *, metric: str = "", customers_a_week: float = 0, weeks: float = 0, share_treated: float = 0.5,
             effect_percent: float = 0.0) -> tuple[Figure, str]:
        """Chance of finding the effect with these customers, and the effect found after each number of weeks."""
        if not self._spread:
            return plots.nothing(self._why), self._why
        at = np.arange(1, WEEKS + 1)
        found = {name: 100 * power.detectable(self._se(metric, at * customers_a_week, share_treated), alpha=self._alpha, power=chance)
                 for name, chance in (("detectable", 0.8), ("low", 0.5), ("high", 0.9))}
        n = weeks * customers_a_week
        se = self._se(metric, n, share_treated)
        seen = float(100 * power.detectable(se, alpha=self._alpha))
        effects = np.linspace(0, max(2 * seen, 1.2 * effect_percent), 61)
        chances = pd.DataFrame({"effect": effects, "power": power.power_of(effects / 100, se, alpha=self._alpha)})
        chance = float(power.power_of(effect_percent / 100, se, alpha=self._alpha))
        fig = plots.planned(chances, pd.DataFrame({"weeks": at, **found}), effect=effect_percent, chance=chance, weeks=weeks,
                            detectable=seen, unit="% of the control mean")
        needed = power.customers_needed(effect_percent / 100, self._spread[metric] ** 2, alpha=self._alpha, share=share_treated)
        return fig, (f"{metric}: {n:,.0f} customers in {weeks:g} weeks, {percent(share_treated, 0)} of them treated, find effects from "
                     f"{seen:.2f} % of the control mean on with four chances in five, at an error rate of {percent(self._alpha, 0)}. A true "
                     f"effect of {effect_percent:g} % would be found with a chance of {percent(chance, 0)}; four in five need "
                     f"{needed:,} customers, {needed / customers_a_week:.1f} weeks.")

    def _se(self, metric: str, n: np.ndarray, share: float) -> np.ndarray:
        """Standard error of the relative effect, the spread of a customer's value being what it was."""
        return self._spread[metric] * np.sqrt(1 / (np.asarray(n) * share) + 1 / (np.asarray(n) * (1 - share)))


class WhatIf:
    """The value of a policy mixed with the one that logged, with its weights cut or whole.

    A mixture shows the policy's choice in a share of the slots and the log's own in the others. With all slots and whole
    weights it is valued as `offpolicy.values` does it: by the estimator to read of the policy, moved by its being lived.

    Attributes:
        controls: policy, share in percent, largest weight; none where there is no log that knows its probabilities.
    """

    def __init__(self, deliveries: pd.DataFrame | None, outcomes: pd.DataFrame | None, *, decisions: pd.DataFrame | None = None,
                 rehearsed: pd.DataFrame | None = None, stated: pd.DataFrame | None = None, served: pd.DataFrame | None = None,
                 answers: pd.DataFrame | None = None, outcome_type: str = "click", as_of: pd.Timestamp | None = None,
                 alpha: float = 0.05, days: int = 7, valued: pd.DataFrame | None = None) -> None:
        """Weigh each policy's log once.

        Args:
            deliveries, outcomes, decisions, rehearsed, stated, outcome_type, as_of: as in `offpolicy.values.questions`.
            served, answers: `deliveries` and their `outcomes`, in which each policy is held without its exploration.
            alpha: error rate of the intervals.
            days: days for which policies of customers are lived.
            valued: `policy_values` of the same log, where they are made already; they name the estimators to read.
        """
        self._alpha, self._held = alpha, {}
        asked = questions(deliveries, outcomes, decisions=decisions, rehearsed=rehearsed, stated=stated,
                          outcome_type=outcome_type, as_of=as_of)
        of_customers, memory = memory_of(asked, deliveries, outcomes, outcome_type=outcome_type, days=days)
        read = {} if valued is None else best(valued).set_index("policy")["estimator"].to_dict()
        for policy, log, target in asked + _without_exploration(served, answers, decisions, outcome_type):
            held = mix(log, target, alpha=alpha, memory=memory if log is of_customers else None, read=read.get(policy))
            if held is not None:
                self._held.setdefault(policy, held)
        self.controls = {}
        if self._held:
            # A mixture that the gate lets through says more at first sight than a refusal.
            first = next(iter(self._held))
            whole = [share for share in range(5, 101, 5) if self._value(first, share / 100, np.inf)["gate"] != support.REFUSE]
            top = int(np.ceil(max(held.weight.max(initial=1.0) for held in self._held.values())))
            self.controls = {"policy": list(self._held), "share_percent": (0, 100, 5, max(whole, default=5)),
                             "largest_weight": (1, max(top, 2), 1, max(top, 2))}

    def draw(self, *, policy: str = "", share_percent: float = 0, largest_weight: float = 1) -> tuple[Figure, str]:
        """The value along the share and along the largest weight, each with its interval and its gate."""
        if not self._held:
            why = "There is no log that knows the probability of what it showed, so no policy can be valued."
            return plots.nothing(why), why
        share, top = share_percent / 100, self.controls["largest_weight"][1]
        now, own = self._value(policy, share, largest_weight), self._value(policy, 0.0, largest_weight)
        shares = [self._value(policy, at, largest_weight) | {"at": at} for at in np.linspace(0, 1, 11)]
        clips = np.unique(np.geomspace(1, top, N_CLIPS).round())
        cut = [self._value(policy, share, clip) | {"at": clip} for clip in clips]
        fig = plots.what_if(pd.DataFrame(shares), pd.DataFrame(cut), share=share, clip=largest_weight, own=own["value"])
        start = f"{policy} in {share_percent:g} % of the slots by {self._held[policy].estimator}, weights up to {largest_weight:g}: "
        if now["gate"] == support.REFUSE:
            return fig, f"{start}not valued, since {now['reason']}. The log itself earned {_percent_of(own)} a slot."
        return fig, (f"{start}{_percent_of(now)} a slot would answer, against {_percent_of(own)} of the log's own ({now['gate']}: "
                     f"{now['reason']}). Mean weight {now['mean_weight']:.3f}, effective slots {number(now['ess'])}.")

    def _value(self, policy: str, share: float, largest: float) -> dict:
        """Value of the mixture with its interval, its diagnostics and its gate."""
        return self._held[policy].value(share, largest, alpha=self._alpha)


def _without_exploration(served: pd.DataFrame | None, answers: pd.DataFrame | None, decisions: pd.DataFrame | None,
                         outcome_type: str) -> list[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Each policy that was served, asked of its own deliveries: what its plain slates would have earned."""
    if served is None or answers is None or decisions is None:
        return []
    names = sorted(set(served["policy"]) & set(decisions["policy"]), reverse=True)
    logs = {name: with_rewards(served, answers, outcome_type=outcome_type, policy=name) for name in names}
    return [(f"{name}, not exploring", log, slates_of(decisions, name)) for name, log in logs.items() if len(log)]


def _percent_of(found: dict) -> str:
    return f"{100 * found['value']:.3f} % [{100 * found['low']:.3f}, {100 * found['high']:.3f}]"
