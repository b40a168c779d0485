"""Are the readout's error rates what it says? Thousands of simulated experiments through the code that reads real ones.

Every row of a calibration names a rate, the interval of its estimate, and the band in which it must lie. Customers are
drawn, reduced to sufficient statistics and compared by the same functions as a finished experiment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pandas as pd
from scipy.special import betaincinv, pdtr

from reclib.experiments import effects, power, sequential, srm
from reclib.experiments.plan import Metric, Plan
from reclib.experiments.readout import adjusted, rows_of
from reclib.experiments.stats import (
    MetricStats,
    Moments,
    combine,
    moments_of,
)
from reclib.experiments.verdict import ROLLBACK, SHIP, decide_arm
from reclib.offpolicy import estimators, support

N_VALUES = 4_000_000
N_QUANTILES = 2**16
COLUMNS = ["check", "scenario", "n_simulations", "rate", "low", "high", "allowed_low", "allowed_high", "is_accepted"]
Draw = Callable[[np.random.Generator, tuple[int, int], float], np.ndarray]


def calibrate(n_simulations: int, rng: np.random.Generator, *, alpha: float = 0.05) -> pd.DataFrame:
    """Simulate every kind of experiment and hold each error rate against its band.

    Args:
        n_simulations: experiments a row.
        rng: source of the randomness.
        alpha: two-sided error rate.

    Returns:
        One row a (check, scenario): rate with its exact binomial interval, the band in which it must lie (widened by
        three standard errors of the simulation), and whether it does.
    """
    parts = [means(n_simulations, rng, alpha=alpha), ratios(n_simulations, rng, alpha=alpha), cuped(n_simulations, rng, alpha=alpha),
             planned_power(n_simulations, rng, alpha=alpha), margins(n_simulations, rng, alpha=alpha),
             peeking(n_simulations, rng, alpha=alpha), family(n_simulations, rng, alpha=alpha),
             decisions(n_simulations, rng, alpha=alpha), trusted(n_simulations, rng, alpha=alpha), splits(n_simulations, rng),
             logs(n_simulations, rng, alpha=alpha)]
    return pd.concat(parts, ignore_index=True)


def rate_row(check: str, scenario: str, hits: np.ndarray, *, target: float | None = None, at_most: float | None = None,
             at_least: float | None = None) -> dict:
    """One row of a calibration: a rate must be `target`, `at_most` or `at_least`, up to three standard errors."""
    hits = np.asarray(hits, dtype=bool)
    n, k = hits.size, int(hits.sum())
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, 0.025))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 0.975))
    floor = at_least if at_least is not None else target if target is not None else 0.0
    roof = at_most if at_most is not None else target if target is not None else 1.0
    floor = max(floor - 3 * np.sqrt(floor * (1 - floor) / n), 0.0)
    roof = min(roof + 3 * np.sqrt(roof * (1 - roof) / n), 1.0)
    return {"check": check, "scenario": scenario, "n_simulations": n, "rate": k / n, "low": low, "high": high,
            "allowed_low": floor, "allowed_high": roof, "is_accepted": bool(floor <= k / n <= roof)}


def revenue(rng: np.random.Generator, shape: tuple[int, int], lift: float = 0.0) -> np.ndarray:
    """Revenue as shops see it: one customer in twelve buys, and a purchase is log-normal; a lift makes more of them buy."""
    is_buyer = rng.random(shape, dtype=np.float32) < (1 + lift) / 12
    paid = np.zeros(shape)
    paid[is_buyer] = np.exp(3 + rng.standard_normal(int(is_buyer.sum())))
    return paid


def proportion(rng: np.random.Generator, shape: tuple[int, int], lift: float = 0.0) -> np.ndarray:
    """One customer in ten responds."""
    return (rng.random(shape, dtype=np.float32) < 0.1 * (1 + lift)).astype(float)


def skewed(rng: np.random.Generator, shape: tuple[int, int], lift: float = 0.0) -> np.ndarray:
    """Heavy-tailed activity, no zeros."""
    return np.exp(1.2 * rng.standard_normal(shape)) * (1 + lift)


def counts(rng: np.random.Generator, shape: tuple[int, int], lift: float = 0.0) -> np.ndarray:
    """A few events a customer: Poisson, drawn from a table of its quantiles, which is ten times as fast."""
    return _poisson(2.0 * (1 + lift))[rng.integers(0, N_QUANTILES, shape, dtype=np.uint16)]


@cache
def _poisson(rate: float) -> np.ndarray:
    """Equally likely quantiles of a Poisson distribution; their mean is the rate to one part in ten thousand."""
    counts = np.arange(200)
    return np.searchsorted(pdtr(counts, rate), (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES).astype(float)


DRAWS: dict[str, tuple[Draw, float]] = {
    "revenue, zero for most": (revenue, np.exp(3.5) / 12), "proportion": (proportion, 0.1),
    "heavy-tailed": (skewed, float(np.exp(0.72))), "counts": (counts, 2.0),
}


def _chunks(n_simulations: int, n_customers: int) -> Iterator[int]:
    size = max(1, N_VALUES // n_customers)
    for start in range(0, n_simulations, size):
        yield min(size, n_simulations - start)


def _gather(n_simulations: int, n_customers: int, one: Callable[[int], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    parts = [one(size) for size in _chunks(n_simulations, n_customers)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def means(n_simulations: int, rng: np.random.Generator, *, alpha: float, n: int = 2000, lift: float = 0.2) -> pd.DataFrame:
    """Two-arm tests of a mean: false positives without an effect, coverage of both intervals with one."""
    rows = []
    for name, (draw, mean) in DRAWS.items():
        def one(size: int, lift: float = 0.0, draw: Draw = draw) -> dict[str, np.ndarray]:
            arm, control = (effects.mean_estimate(moments_of(draw(rng, (size, n), own)[..., None])) for own in (lift, 0.0))
            return effects.compare(arm, control, alpha=alpha)

        null = _gather(n_simulations, n, one)
        there = _gather(n_simulations, n, lambda size, one=one: one(size, lift))
        rows.append(rate_row("A/A false positives", name, null["p_value"] < alpha, target=alpha))
        rows.append(rate_row("A/A false wins", name, (null["effect"] > 0) & (null["p_value"] < alpha), target=alpha / 2))
        rows += _coverage(name, there, lift * mean, lift, alpha)
    return pd.DataFrame(rows)


def _coverage(name: str, found: dict[str, np.ndarray], effect: float, lift: float, alpha: float) -> list[dict]:
    is_in = (found["effect_low"] <= effect) & (effect <= found["effect_high"])
    is_bounded = np.isfinite(found["lift_low"])
    is_in_lift = ((found["lift_low"] <= lift) & (lift <= found["lift_high"])) | ~is_bounded
    contradicts = is_bounded & ((found["effect_low"] > 0) != (found["lift_low"] > 0))
    return [rate_row("coverage of the effect", name, is_in, target=1 - alpha),
            rate_row("coverage of the lift", name, is_in_lift, target=1 - alpha),
            rate_row("lift contradicts effect", name, contradicts, at_most=0.0)]


def ratios(n_simulations: int, rng: np.random.Generator, *, alpha: float, n: int = 2000) -> pd.DataFrame:
    """Revenue an order, where both move with the customer: the delta method without and with an effect."""
    def one(size: int, lift: float = 0.0) -> dict[str, np.ndarray]:
        arms = []
        for own in (lift, 0.0):
            orders = rng.poisson(rng.gamma(1.0, 1.0, (size, n))).astype(float)
            paid = orders * 20 * (1 + own) * np.exp(0.3 * rng.standard_normal((size, n)) - 0.045)
            arms.append(effects.ratio_estimate(moments_of(np.stack([paid, orders], axis=-1))))
        return effects.compare(*arms, alpha=alpha)

    null, there = _gather(n_simulations, 6 * n, one), _gather(n_simulations, 6 * n, lambda size: one(size, 0.05))
    rows = [rate_row("A/A false positives", "ratio", null["p_value"] < alpha, target=alpha)]
    return pd.DataFrame(rows + _coverage("ratio", there, 1.0, 0.05, alpha))


def cuped(n_simulations: int, rng: np.random.Generator, *, alpha: float, n: int = 1000) -> pd.DataFrame:
    """A metric that correlates 0.6 with what was known before: the adjustment must keep its promise and be narrower."""
    def one(size: int) -> dict[str, np.ndarray]:
        arms = []
        for effect in (0.1, 0.0):
            before = rng.standard_normal((size, n))
            after = 1 + effect + 0.6 * before + 0.8 * rng.standard_normal((size, n))
            arms.append(effects.mean_estimate(moments_of(np.stack([after, before], axis=-1))))
        raw = effects.compare(*arms, alpha=alpha)
        return effects.compare(*effects.adjust(*arms), alpha=alpha) | {"raw_se": raw["se"]}

    found = _gather(n_simulations, 4 * n, one)
    is_narrower = found["se"] ** 2 < 0.75 * found["raw_se"] ** 2
    return pd.DataFrame([*_coverage("adjusted mean", found, 0.1, 0.1, alpha)[:2],
                         rate_row("variance saved by a quarter or more", "adjusted mean", is_narrower, at_least=0.95)])


def planned_power(n_simulations: int, rng: np.random.Generator, *, alpha: float) -> pd.DataFrame:
    """The number of customers planned for 80 % power must give 80 % power."""
    n = power.customers_needed(0.02, (0.1 * 0.9 + 0.12 * 0.88) / 2, alpha=alpha) // 2

    def one(size: int) -> dict[str, np.ndarray]:
        arm, control = (effects.mean_estimate(moments_of(proportion(rng, (size, n), lift)[..., None])) for lift in (0.2, 0.0))
        return effects.compare(arm, control, alpha=alpha)

    found = _gather(n_simulations, n, one)
    return pd.DataFrame([rate_row("power at the planned effect", "proportion", found["p_value"] < alpha, target=0.8)])


def margins(n_simulations: int, rng: np.random.Generator, *, alpha: float, n: int = 4000, margin: float = 0.1) -> pd.DataFrame:
    """Guardrails: worse by exactly the margin must not pass; equal arms must."""
    def one(size: int, lift: float) -> dict[str, np.ndarray]:
        arm, control = (effects.mean_estimate(moments_of(counts(rng, (size, n), own)[..., None])) for own in (lift, 0.0))
        return {"up": effects.hold_margin(arm, control, margin, is_up=True), "down": effects.hold_margin(arm, control, margin, is_up=False)}

    fewer, more = (_gather(n_simulations, n, lambda size, lift=lift: one(size, lift)) for lift in (-margin, margin))
    equal = _gather(n_simulations, n, lambda size: one(size, 0.0))
    return pd.DataFrame([
        rate_row("guardrail at its margin passes", "higher is better", fewer["up"] < alpha / 2, target=alpha / 2),
        rate_row("guardrail at its margin passes", "lower is better", more["down"] < alpha / 2, target=alpha / 2),
        rate_row("harmless guardrail passes", "higher is better", equal["up"] < alpha / 2, at_least=0.8),
    ])


def peeking(n_simulations: int, rng: np.random.Generator, *, alpha: float, n: int = 200, looks: int = 20) -> pd.DataFrame:
    """A look after every batch without any effect: the plain test errs, the anytime-valid one must not."""
    def one(size: int) -> dict[str, np.ndarray]:
        is_plain, is_anytime = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
        sums: list[Moments] = []
        for look in range(looks):
            batch = [moments_of(revenue(rng, (size, n))[..., None]) for _ in range(2)]
            sums = batch if look == 0 else [combine(old, new) for old, new in zip(sums, batch)]
            found = effects.compare(*map(effects.mean_estimate, sums), alpha=alpha)
            seen = sums[0].n + sums[1].n
            is_plain |= found["p_value"] < alpha
            is_anytime |= sequential.p_value(found["effect"] / found["se"], seen, alpha=alpha, n_star=5000) < alpha
        return {"plain": is_plain, "anytime": is_anytime}

    found = _gather(n_simulations, n * 4, one)
    return pd.DataFrame([
        rate_row("false positives over 20 looks", "anytime-valid", found["anytime"], at_most=alpha),
        rate_row("false positives over 20 looks", "plain test (a warning)", found["plain"], at_least=0.12),
    ])


def family(n_simulations: int, rng: np.random.Generator, *, alpha: float, n: int = 500, size: int = 10) -> pd.DataFrame:
    """Ten metrics without an effect, correlated 0.3: any false finding, corrected and not."""
    def one(n_rows: int) -> dict[str, np.ndarray]:
        arms = []
        for _ in range(2):
            shared = np.sqrt(0.3) * rng.standard_normal((n_rows, 1, n))
            arms.append(effects.mean_estimate(moments_of((shared + np.sqrt(0.7) * rng.standard_normal((n_rows, size, n)))[..., None])))
        return {"p": effects.compare(*arms, alpha=alpha)["p_value"]}

    p = _gather(n_simulations, 2 * n * size, one)["p"]
    corrected = np.array([adjusted(row, "holm").min() for row in p])
    return pd.DataFrame([
        rate_row("any false finding among 10 metrics", "corrected (Holm)", corrected < alpha, at_most=alpha),
        rate_row("any false finding among 10 metrics", "uncorrected (a warning)", p.min(axis=1) < alpha, at_least=0.25),
    ])


def decisions(n_simulations: int, rng: np.random.Generator, *, alpha: float, n: int = 2000) -> pd.DataFrame:
    """Whole verdicts of one success metric and four guardrails, from statistics to the word."""
    rows = []
    for scenario, gain, harm, wanted, band in (
        ("nothing changed", 0.0, 0.0, SHIP, {"at_most": alpha / 2}),
        ("gain, and one guardrail at its margin", 0.3, -0.1, SHIP, {"at_most": alpha / 2}),
        ("gain, guardrails untouched", 0.3, 0.0, SHIP, {"at_least": 0.8}),
        ("gain, and one guardrail far beyond its margin", 0.3, -0.25, ROLLBACK, {"at_least": 0.95}),
    ):
        lifts = [gain, harm, 0.0, 0.0, 0.0]
        words = np.concatenate([_words(rng, size, n, lifts, alpha) for size in _chunks(n_simulations, 2 * n * len(lifts))])
        rows.append(rate_row(f"verdict {wanted}", scenario, words == wanted, **band))
    return pd.DataFrame(rows)


def _words(rng: np.random.Generator, size: int, n: int, lifts: list[float], alpha: float) -> np.ndarray:
    metrics = [Metric("goal", "success", "proportion", ("goal",))]
    metrics += [Metric(f"guard_{at}", "guardrail", "mean", (f"guard_{at}",), margin=0.1) for at in range(1, len(lifts))]
    plan = _plan(metrics, alpha)
    found = {}
    for metric, lift in zip(metrics, lifts):
        draw = proportion if metric.kind == "proportion" else counts
        found[metric.name] = _entries(metric, *(draw(rng, (size, n), own) for own in (0.0, lift)))
    rows = (rows_of({name: each[at] for name, each in found.items()}, plan) for at in range(size))
    return np.array([decide_arm([(row["role"], row["finding"]) for row in one]) for one in rows])


def _plan(metrics: list[Metric], alpha: float, covariates: tuple[str, ...] = ()) -> Plan:
    return Plan("simulated", "old", {"old": 0.5, "new": 0.5}, tuple(metrics), alpha=alpha, covariates=covariates)


def _entries(metric: Metric, *arms: np.ndarray, covariates: tuple[str, ...] = ()) -> list[MetricStats]:
    """Sufficient statistics of simulated experiments, from the customers of each arm: shape (simulations, customers), with
    an axis of variables behind where there are covariates.
    """
    arms = arms if covariates else tuple(values[..., None] for values in arms)
    parts = [moments_of(values) for values in arms]
    whole = _stack(parts, axis=1)
    third = np.stack([_thirds_of(values, part) for values, part in zip(arms, parts)], axis=1)
    n_nonzero = np.stack([np.count_nonzero(values[..., 0], axis=-1) for values in arms], axis=-1)
    return [MetricStats(metric, ("old", "new"), whole[at], third=third[at], n_nonzero=n_nonzero[at], covariates=covariates)
            for at in range(len(third))]


def _stack(parts: list[Moments], axis: int = 0) -> Moments:
    return Moments(*(np.stack([getattr(part, name) for part in parts], axis=axis) for name in ("n", "mean", "cov")))


def _thirds_of(values: np.ndarray, moments: Moments) -> np.ndarray:
    """`grouped_thirds` of each simulation, all at once: from (simulations, customers, v) to (simulations, v, v, v)."""
    size, n, v = values.shape
    centred = np.swapaxes(values - moments.mean[:, None, :], 1, 2)
    pairs = (centred[:, :, None] * centred[:, None]).reshape(size, v * v, n)
    return (pairs @ np.swapaxes(centred, 1, 2)).reshape(size, v, v, v) / n


def _buying(share: float, spread: float) -> Draw:
    """A share of the customers buys, for log-normal amounts; a lift makes more of them buy."""
    def draw(rng: np.random.Generator, shape: tuple[int, int], lift: float = 0.0) -> np.ndarray:
        paid = np.zeros(shape)
        is_buyer = rng.random(shape, dtype=np.float32) < share * (1 + lift)
        paid[is_buyer] = np.exp(spread * rng.standard_normal(int(is_buyer.sum())) - spread**2 / 2)
        return paid / share
    return draw


def _pareto(rng: np.random.Generator, shape: tuple[int, int], lift: float = 0.0) -> np.ndarray:
    """The tail of Pareto 1.2: a mean, and no variance."""
    return (1 + rng.pareto(1.2, shape)) * (1 + lift) / 6


def _habit(rng: np.random.Generator, shape: tuple[int, int], lift: float = 0.0) -> np.ndarray:
    """An even habit that was there before, and now and then a large purchase on top: plain until the habit is taken out."""
    before = rng.standard_normal(shape)
    after = 1 + lift + 12 * before + 0.3 * (_buying(0.02, 1.0)(rng, shape) - 1)
    return np.stack([after, before], axis=-1)


WORLDS: dict[str, tuple[Draw, tuple[int, int], float]] = {
    "5 customers an arm, doubled": (_buying(1 / 2, 1.0), (5, 5), 1.0), "20 customers an arm, doubled": (_buying(0.3, 1.5), (20, 20), 1.0),
    "one buyer in fifty, doubled": (_buying(0.02, 1.5), (2000, 2000), 1.0), "one buyer in fifty, halved": (_buying(0.02, 1.0), (500, 500), -0.5),
    "one buyer in fifty, 99:1": (_buying(0.02, 1.0), (9900, 100), 0.0), "one responder in fifty, 9:1": (_buying(0.02, 0.0), (9000, 1000), 0.0),
    "one responder in 200, 99:1": (_buying(0.005, 0.0), (9900, 100), 0.0), "Pareto 1.2, doubled": (_pareto, (2000, 2000), 1.0),
    "Pareto 1.2, 9:1": (_pareto, (2700, 300), 0.0), "habit adjusted away, 20:1": (_habit, (6000, 300), 0.0),
}


def trusted(n_simulations: int, rng: np.random.Generator, *, alpha: float) -> pd.DataFrame:
    """Worlds in which a mean's interval errs: a readout must hold the truth, or say that it must not be trusted."""
    rows = []
    for name, (draw, sizes, lift) in WORLDS.items():
        known = ("before",) if draw is _habit else ()
        is_wrong = np.concatenate([_trusted(rng, size, draw, sizes, lift, alpha, known)[1] for size in _chunks(n_simulations, 4 * sum(sizes))])
        rows.append(rate_row("trusted and wrong", name, is_wrong, at_most=alpha))
    for name, draw in (("revenue, zero for most", revenue), ("proportion", proportion), ("counts", counts)):
        is_trusted = np.concatenate([_trusted(rng, size, draw, (2000, 2000), 0.2, alpha)[0] for size in _chunks(n_simulations, 8000)])
        rows.append(rate_row("trusted where it may be", name, is_trusted, at_least=0.8))
    return pd.DataFrame(rows)


def _trusted(rng: np.random.Generator, size: int, draw: Draw, sizes: tuple[int, int], lift: float, alpha: float,
             covariates: tuple[str, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Whether each readout may be trusted, and whether it may and misses the truth (customers have a mean of 1)."""
    metric = Metric("goal", "success", "mean", ("goal",))
    plan = _plan([metric], alpha, covariates)
    entries = _entries(metric, draw(rng, (size, sizes[0]), 0.0), draw(rng, (size, sizes[1]), lift), covariates=covariates)
    rows = [next(row for row in rows_of({"goal": entry}, plan) if row["is_primary"]) for entry in entries]
    is_trusted = np.array([row["finding"] not in ("refused", "not to be trusted") for row in rows])
    is_in = np.array([row["effect_low"] <= lift <= row["effect_high"] for row in rows])
    return is_trusted, is_trusted & ~is_in


def splits(n_simulations: int, rng: np.random.Generator, *, alpha: float = 0.001) -> pd.DataFrame:
    """The sample ratio check: false alarms, a split that is off by a point, and customers in an arm without a share."""
    shares = np.array([0.5, 0.5, 0.0])
    fair = srm.sample_ratio(rng.multinomial(50_000, [0.5, 0.5, 0.0], n_simulations), shares)
    off = srm.sample_ratio(rng.multinomial(100_000, [0.51, 0.49, 0.0], n_simulations), shares)
    leak = rng.multinomial(50_000, [0.4995, 0.4995, 0.001], n_simulations)
    third = srm.sample_ratio(rng.multinomial(60_000, [0.8, 0.1, 0.1], n_simulations), np.array([0.8, 0.1, 0.1]))
    return pd.DataFrame([
        rate_row("sample ratio false alarms", "two arms", fair < alpha, target=alpha),
        rate_row("sample ratio false alarms", "three uneven arms", third < alpha, target=alpha),
        rate_row("sample ratio mismatch found", "51/49 of 100,000", off < alpha, at_least=0.998),
        rate_row("leaked arm found", "one customer in a thousand", srm.sample_ratio(leak, shares) < alpha, at_least=1.0),
    ])


def logs(n_simulations: int, rng: np.random.Generator, *, alpha: float, n: int = 4000, n_items: int = 10) -> pd.DataFrame:
    """Policies valued from a log whose truth is known: coverage wherever the gate calls the log usable."""
    rate = np.linspace(0.05, 0.25, n_items)
    logging = np.linspace(2, 1, n_items) / np.linspace(2, 1, n_items).sum()
    target = np.linspace(1, 3, n_items) / np.linspace(1, 3, n_items).sum()
    truth = float(target @ rate)

    def one(size: int) -> dict[str, np.ndarray]:
        item = np.minimum(np.searchsorted(np.cumsum(logging), rng.random((size, n))), n_items - 1)
        reward = (rng.random((size, n)) < rate[item]).astype(float)
        weight, q = (target / logging)[item], 0.1 + 0.5 * rate
        found = estimators.estimate(weight, reward, q[item], np.full((size, n), float(target @ q)), alpha=alpha)
        seen = support.diagnose(weight, reward)
        words = [support.gate({name: value[at] for name, value in seen.items()})[0] for at in range(size)]
        return {name: (low <= truth) & (truth <= high) for name, (_, low, high) in found.items()} | {"gate": np.array(words)}

    # A fiftieth more logs than experiments, so that as many are usable.
    found = _gather(n_simulations + n_simulations // 50, 6 * n, one)
    is_usable = found["gate"] == support.USABLE
    rows = [rate_row("off-policy interval holds the truth", name, found[name][is_usable][:n_simulations], target=1 - alpha)
            for name in ("ips", "snips", "dr", "sndr")]
    rows.append(rate_row("gate calls a good log usable", "uneven log of 4,000 slots", is_usable, at_least=0.95))
    return pd.DataFrame([*rows, *_thin_logs(n_simulations, rng, alpha=alpha)])


def _thin_logs(n_simulations: int, rng: np.random.Generator, *, alpha: float, n: int = 3000) -> list[dict]:
    """The policy shows what the log showed once in a hundred, and hits are rare: the gate must not call that usable."""
    def one(size: int) -> dict[str, np.ndarray]:
        is_rare = rng.random((size, n), dtype=np.float32) < 0.01
        reward = (rng.random((size, n), dtype=np.float32) < np.where(is_rare, 0.1, 0.02)).astype(float)
        weight = np.where(is_rare, 80.0, 0.2 / 0.99)
        found = estimators.estimate(weight, reward, np.zeros(1), np.zeros((size, n)), alpha=alpha)
        seen = support.diagnose(weight, reward)
        words = [support.gate({name: value[at] for name, value in seen.items()})[0] for at in range(size)]
        truth = 0.8 * 0.1 + 0.2 * 0.02
        return {"gate": np.array(words), "is_in": (found["snips"][1] <= truth) & (truth <= found["snips"][2])}

    found = _gather(n_simulations, 5 * n, one)
    return [rate_row("gate calls a thin log usable", "three effective hits", found["gate"] == support.USABLE, at_most=0.01),
            rate_row("off-policy interval holds the truth", "thin log, refused (a warning)", found["is_in"], at_most=0.935)]


def relabelled(values: np.ndarray, n_simulations: int, rng: np.random.Generator, *, share: float = 0.5,
               alpha: float = 0.05) -> np.ndarray:
    """A/A tests on real customers: the arms are drawn anew each time, so any finding is false.

    Args:
        values: metrics of real customers, shape (customers, metrics).
        n_simulations: number of draws.
        rng: source of the randomness.
        share: chance of each customer to come into the arm.
        alpha: error rate of the intervals.

    Returns:
        p-value of every draw and metric, shape (n_simulations, metrics).
    """
    columns = np.ascontiguousarray(values.T)[..., None]
    drawn = []
    for _ in range(n_simulations):
        is_arm = rng.random(len(values), dtype=np.float32) < share
        drawn.append(_stack([moments_of(columns.take(np.flatnonzero(own), axis=1)) for own in (is_arm, ~is_arm)]))
    whole = _stack(drawn)
    return effects.compare(effects.mean_estimate(whole[:, 0]), effects.mean_estimate(whole[:, 1]), alpha=alpha)["p_value"]


def relabelled_rows(units: pd.DataFrame, metrics: list[str], n_simulations: int, rng: np.random.Generator) -> pd.DataFrame:
    """A/A tests of real metrics at even split: rejections at 5 % and 1 % in their bands."""
    rows = []
    for name, p in zip(metrics, relabelled(units[metrics].to_numpy(dtype=float), n_simulations, rng).T):
        rows += [rate_row(f"A/A on real customers at {100 * alpha:.0f} %", name, p < alpha, target=alpha) for alpha in (0.05, 0.01)]
    return pd.DataFrame(rows)


def hillstrom(n_simulations: int, rng: np.random.Generator) -> pd.DataFrame:
    """A/A tests of the Hillstrom customers, and of an arm of one in a hundred as a warning; empty where the data is not here."""
    from reclib.sources import catalog

    if not catalog.describe("hillstrom")["is_here"]:
        return pd.DataFrame(columns=COLUMNS)
    units = catalog.load("hillstrom").tables["units"]
    even = relabelled_rows(units, ["visit", "conversion", "spend"], n_simulations, rng)
    small = relabelled(units[["spend"]].to_numpy(dtype=float), n_simulations, rng, share=0.01)
    warning = rate_row("A/A on real customers at 5 %", "spend, an arm of 1 % (a warning)", small < 0.05, at_least=0.1)
    return pd.concat([even, pd.DataFrame([warning])], ignore_index=True)


def real_sentence(table: pd.DataFrame) -> str:
    """Say what A/A tests of real customers found, or that there are none here."""
    return sentence(table) if len(table) else "The Hillstrom data is not here, so no real customers were drawn anew."


def sentence(table: pd.DataFrame) -> str:
    """Say how many error rates lie in their band, and which do not."""
    outside = table[~table["is_accepted"]]
    total = f"{len(table) - len(outside)} of {len(table)} error rates lie in their band, over {int(table['n_simulations'].min()):,} simulated experiments or more each"
    names = "; ".join(f"{row.check}, {row.scenario}: {100 * row.rate:.2f} %" for row in outside.itertuples())
    return f"{total}." if outside.empty else f"{total}; outside: {names}."
