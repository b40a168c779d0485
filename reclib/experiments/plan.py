"""The plan of an experiment, written before it ran: arms, shares, metrics with their roles and margins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from reclib import schema

KINDS = ("mean", "proportion", "ratio", "quantile")
CORRECTIONS = ("holm", "bh", "none")
_METRIC_KEYS = {
    "role", "kind", "direction", "margin", "margin_scale", "winsorise", "winsorise_over", "numerator", "denominator",
    "quantile", "column", "is_money", "unit", "about",
}


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

    def metric(self, name: str) -> Metric:
        """The metric of that name."""
        return next(metric for metric in self.metrics if metric.name == name)


def parse(record: Mapping) -> Plan:
    """Read a plan from a record (the `experiment` part of a source file).

    Args:
        record: experiment_id, control, expected_shares, metrics, and optionally alpha, covariates, segments,
            correction, sequential (true or `{n_star: ...}`), srm_alpha, planned_effect, is_randomised.

    Raises:
        PlanError: a part is missing or not allowed; the sentence names it.
    """
    for name in ("experiment_id", "control", "expected_shares", "metrics"):
        if record.get(name) in (None, "", {}):
            raise PlanError(f"experiment.{name} is missing; a plan states experiment_id, control, expected_shares, metrics.")
    covariates = tuple(record.get("covariates") or ())
    metrics = tuple(_metric(str(name), entry or {}) for name, entry in record["metrics"].items())
    sequential = record.get("sequential") or {}
    plan = Plan(
        experiment_id=record["experiment_id"], control=str(record["control"]),
        expected_shares={str(arm): float(share) for arm, share in record["expected_shares"].items()},
        metrics=metrics, alpha=float(record.get("alpha", 0.05)), covariates=covariates,
        segments=tuple(record.get("segments") or ()), correction=record.get("correction", "holm"),
        is_sequential=bool(sequential),
        n_star=int(sequential.get("n_star", 5000)) if isinstance(sequential, Mapping) else 5000,
        srm_alpha=float(record.get("srm_alpha", 0.001)), planned_effect=record.get("planned_effect"),
        is_randomised=bool(record.get("is_randomised", True)),
    )
    _check(plan)
    return plan


def _metric(name: str, entry: Mapping) -> Metric:
    where = f"experiment.metrics.{name}"
    unknown = sorted(set(entry) - _METRIC_KEYS)
    if unknown:
        raise PlanError(f"{where}: unknown keys {unknown}; known keys: {sorted(_METRIC_KEYS)}.")
    kind, role, direction = entry.get("kind", "mean"), entry.get("role"), entry.get("direction", "up")
    _one_of(f"{where}.role", role, schema.METRIC_ROLES)
    _one_of(f"{where}.kind", kind, KINDS)
    _one_of(f"{where}.direction", direction, ("up", "down"))
    _one_of(f"{where}.margin_scale", entry.get("margin_scale", "relative"), ("relative", "absolute"))
    _one_of(f"{where}.winsorise_over", entry.get("winsorise_over", "nonzero"), ("nonzero", "all"))
    if kind == "ratio" and not (entry.get("numerator") and entry.get("denominator")):
        raise PlanError(f"{where}: a ratio needs numerator and denominator.")
    columns = (entry["numerator"], entry["denominator"]) if kind == "ratio" else (entry.get("column", name),)
    cap = entry.get("winsorise")
    _between(f"{where}.winsorise", cap)
    _between(f"{where}.quantile", entry.get("quantile", 0.5))
    if cap is not None and kind in ("proportion", "quantile"):
        raise PlanError(f"{where}: a {kind} is never winsorised.")
    margin = entry.get("margin")
    return Metric(
        name=name, role=role, kind=kind, columns=columns, is_up=direction == "up",
        margin=math.nan if margin is None else abs(float(margin)),
        is_margin_absolute=entry.get("margin_scale") == "absolute", winsorise=cap,
        winsorise_over=entry.get("winsorise_over", "nonzero"), quantile=float(entry.get("quantile", 0.5)),
        is_money=bool(entry.get("is_money", False)),
    )


def _check(plan: Plan) -> None:
    shares = plan.expected_shares
    if plan.control not in shares:
        raise PlanError(f"experiment.control == {plan.control!r}, must be one of the arms {sorted(shares)}.")
    if any(share < 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-3:
        raise PlanError(f"experiment.expected_shares == {dict(shares)}, must be at least 0 each and add up to 1.")
    if not plan.arms or shares[plan.control] == 0:
        raise PlanError(f"experiment.expected_shares == {dict(shares)}, must give the control and another arm a share.")
    for name, value in (("alpha", plan.alpha), ("srm_alpha", plan.srm_alpha)):
        _between(f"experiment.{name}", value)
    _one_of("experiment.correction", plan.correction, CORRECTIONS)
    _check_covariates(plan)


def _check_covariates(plan: Plan) -> None:
    """Refuse covariates and segments that the experiment itself may have moved."""
    outcomes = {column for metric in plan.metrics for column in metric.columns}
    for kind, names in (("covariates", plan.covariates), ("segments", plan.segments)):
        moved = sorted(set(names) & outcomes)
        if moved:
            raise PlanError(f"experiment.{kind}: {moved} are outcomes of the experiment, known only after assignment; "
                            f"{kind} must be known before it.")
        if "arm" in names:
            raise PlanError(f"experiment.{kind}: 'arm' is the assignment itself.")


def _one_of(where: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise PlanError(f"{where} == {value!r}, must be one of {list(allowed)}.")


def _between(where: str, value: float | None) -> None:
    if value is not None and not 0 < value < 1:
        raise PlanError(f"{where} == {value}, must lie between 0 and 1.")
