"""The plan of an experiment, written before it ran: arms, shares, metrics with their roles and margins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from reclib.sources.manifest import ExperimentPlan, MetricPlan, told


class PlanError(ValueError):
    """The plan cannot be read; the sentence says where and what is allowed."""


@dataclass(frozen=True)
class Metric:
    """One metric of a plan.

    Attributes:
        name: name in the readout.
        role: success, guardrail, quality or exploratory.
        kind: mean, proportion (0 or 1), ratio (sum over sum) or quantile.
        columns: the columns of `units` that it needs: one, or numerator and denominator.
        is_up: higher is better.
        margin: largest acceptable worsening, positive; a share of the control mean unless `is_margin_absolute`;
            missing (NaN) where the plan states none.
        is_margin_absolute: the margin is in the unit of the metric.
        winsorise: quantile at which values are capped, or None.
        winsorise_over: `nonzero` (customers with a value other than zero) or `all`.
        quantile: which quantile, for kind quantile.
        is_money: a customer's value is an amount in the currency of the source.
    """

    name: str
    role: str
    kind: str = "mean"
    columns: tuple[str, ...] = ()
    is_up: bool = True
    margin: float = math.nan
    is_margin_absolute: bool = False
    winsorise: float | None = None
    winsorise_over: str = "nonzero"
    quantile: float = 0.5
    is_money: bool = False


@dataclass(frozen=True)
class Plan:
    """A plan as it was written before the experiment.

    Attributes:
        experiment_id: name of the experiment.
        control: the arm that the others are held against.
        expected_shares: planned share of each arm; a share of 0 is an arm that nobody should be in.
        metrics: what is measured.
        alpha: two-sided error rate; guardrails are held against their margin one-sided at alpha / 2.
        covariates: columns of `units` known before assignment.
        segments: columns of `units` known before assignment whose values split the customers.
        correction: of the family of success metrics and arms, and of segments: holm, bh or none.
        is_sequential: the test is looked at before its end, so intervals are anytime-valid.
        n_star: number of customers at which the anytime-valid interval is tightest.
        srm_alpha: error rate of the sample ratio check.
        planned_effect: relative effect that the test was sized for, or None.
        is_randomised: the arms were drawn by lot.
    """

    experiment_id: str | int
    control: str
    expected_shares: Mapping[str, float]
    metrics: tuple[Metric, ...]
    alpha: float = 0.05
    covariates: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    correction: str = "holm"
    is_sequential: bool = False
    n_star: int = 5000
    srm_alpha: float = 0.001
    planned_effect: float | None = None
    is_randomised: bool = True

    @property
    def arms(self) -> list[str]:
        """The arms held against the control, by name."""
        return sorted(arm for arm, share in self.expected_shares.items() if arm != self.control and share > 0)

    def of_role(self, role: str) -> list[Metric]:
        """The metrics of a role, in the plan's order."""
        return [metric for metric in self.metrics if metric.role == role]


def parse(record: Mapping) -> Plan:
    """Read a plan from a record (the `experiment` part of a source file, see `sources.manifest.ExperimentPlan`).

    Raises:
        PlanError: parts are missing or not allowed; the sentence names each.
    """
    try:
        read = ExperimentPlan.model_validate(record)
    except ValidationError as error:
        raise PlanError("; ".join(told(each, "experiment") for each in error.errors(include_url=False)) + ".") from error
    looks = {} if read.sequential is None else {"is_sequential": True, "n_star": read.sequential.n_star}
    return Plan(
        experiment_id=read.experiment_id, control=read.control, expected_shares=read.expected_shares, alpha=read.alpha,
        metrics=tuple(_metric(name, entry) for name, entry in read.metrics.items()), covariates=tuple(read.covariates),
        segments=tuple(read.segments), correction=read.correction, srm_alpha=read.srm_alpha,
        planned_effect=read.planned_effect, is_randomised=read.is_randomised, **looks,
    )


def _metric(name: str, entry: MetricPlan) -> Metric:
    return Metric(
        name=name, role=entry.role, kind=entry.kind, columns=entry.columns(name), is_up=entry.direction == "up",
        margin=math.nan if entry.margin is None else abs(entry.margin), is_margin_absolute=entry.margin_scale == "absolute",
        winsorise=entry.winsorise, winsorise_over=entry.winsorise_over, quantile=entry.quantile, is_money=entry.is_money,
    )
