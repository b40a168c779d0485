"""From scores to probabilities: calibrators fitted out of time, and how far to trust them.

Two calibrators: `sigmoid` (two numbers) and `isotonic` (centred: each plateau becomes a point, with straight lines
between, so that equal probabilities stay rare). The better by Brier score on held-out customers is kept; isotonic is
tried only with more than 1,000 responses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

MIN_ISOTONIC = 1_000
MIN_SIGMOID = 20
N_BINS = 10
EDGE = 1e-6


@dataclass(frozen=True)
class Calibrator:
    """A non-decreasing map from raw log-odds to probability.

    Attributes:
        method: sigmoid, isotonic, shift (only the level is moved) or none.
        x, y: knots of the isotonic map; slope and intercept of the sigmoid are in `x[0]`, `y[0]`.
        brier: Brier score of each method tried, on held-out customers.
    """

    method: str
    x: np.ndarray
    y: np.ndarray
    brier: dict[str, float]

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Probabilities of raw log-odds."""
        if self.method == "isotonic":
            return np.clip(np.interp(raw, self.x, self.y), EDGE, 1 - EDGE)
        return np.clip(expit(self.x[0] * raw + self.y[0]), EDGE, 1 - EDGE)

    def levelled(self, raw: np.ndarray, label: np.ndarray) -> Calibrator:
        """The same map, all its log-odds moved so that the mean probability of `raw` is the rate of `label`.

        For a ranker that is fitted again after it was calibrated: the slope was found out of time and stays, the level
        (one number) is that of the newest answers. Unchanged where there are none, or nothing but.
        """
        if not 0 < label.sum() < len(label):
            return self
        shift = _shift(logit(self(raw)), label)
        y = expit(logit(self.y) + shift) if self.method == "isotonic" else self.y + shift
        return replace(self, y=y)


def expit(x: np.ndarray) -> np.ndarray:
    """Probability of log-odds."""
    return 1 / (1 + np.exp(-np.clip(x, -500, 500)))


def logit(p: np.ndarray | float) -> np.ndarray:
    """Log-odds of a probability, kept off 0 and 1 by a millionth."""
    p = np.clip(p, EDGE, 1 - EDGE)
    return np.log(p / (1 - p))


def calibrate(raw: np.ndarray, label: np.ndarray, group: np.ndarray) -> Calibrator:
    """Fit the calibrator with the lower Brier score on customers that it has not seen.

    Args:
        raw: log-odds of the ranker on the calibration window.
        label: 0 or 1.
        group: customer of each row; halves of the customers take turns.

    Returns:
        A sigmoid or isotonic map; below 20 responses only the level is moved, and with none or all, nothing is.
    """
    n_positive = int(label.sum())
    if n_positive == 0 or n_positive == len(label):
        return Calibrator("none", np.array([1.0]), np.array([0.0]), {})
    if min(n_positive, len(label) - n_positive) < MIN_SIGMOID:
        return Calibrator("shift", np.array([1.0]), np.array([_shift(raw, label)]), {})
    methods = {"sigmoid": _sigmoid} | ({"isotonic": _isotonic} if n_positive > MIN_ISOTONIC else {})
    codes, names = pd.factorize(group, sort=True)
    half = codes % 2 == 0
    brier = {name: _held_out(fit, raw, label, half) for name, fit in methods.items()} if len(names) > 1 else {}
    best = min(brier, key=lambda name: (round(brier[name], 9), name != "sigmoid")) if brier else "sigmoid"
    fitted = methods[best](raw, label)
    return Calibrator(fitted.method, fitted.x, fitted.y, brier)


def _held_out(fit, raw: np.ndarray, label: np.ndarray, half: np.ndarray) -> float:
    p = np.empty(len(raw))
    for inside in (half, ~half):
        p[~inside] = fit(raw[inside], label[inside])(raw[~inside])
    return float(np.mean((p - label) ** 2))


def _shift(raw: np.ndarray, label: np.ndarray) -> float:
    low, high = -50.0, 50.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if expit(raw + middle).mean() < label.mean() else (low, middle)
    return (low + high) / 2


def _sigmoid(raw: np.ndarray, label: np.ndarray) -> Calibrator:
    slope, intercept = logistic_line(raw, label)
    if slope <= 0:
        return Calibrator("sigmoid", np.array([1e-3]), np.array([_shift(1e-3 * raw, label)]), {})
    return Calibrator("sigmoid", np.array([slope]), np.array([intercept]), {})


def _isotonic(raw: np.ndarray, label: np.ndarray) -> Calibrator:
    from sklearn.isotonic import IsotonicRegression

    order = np.argsort(raw, kind="stable")
    x, fitted = raw[order], IsotonicRegression().fit_transform(raw[order], label[order].astype("float64"))
    plateau = np.concatenate([[0], np.cumsum(np.diff(fitted) > 0)])
    size = np.bincount(plateau)
    return Calibrator("isotonic", np.bincount(plateau, weights=x) / size, np.bincount(plateau, weights=fitted) / size, {})


def logistic_line(x: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of label ~ logistic(intercept + slope * x), by Newton's method."""
    design = np.column_stack([np.ones(len(x)), x])
    beta = np.array([float(logit(label.mean())), 0.0])
    for _ in range(50):
        p = expit(design @ beta)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, design.T @ (label - p))
        beta = beta + np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-12:
            break
    return float(beta[1]), float(beta[0])


def reliability(p: np.ndarray, label: np.ndarray, *, n_bins: int = N_BINS) -> pd.DataFrame:
    """Compare foretold and observed rates in bins of equal count, with Wilson intervals.

    Returns:
        bin, n_pairs, foretold, observed, low, high.
    """
    order = np.argsort(p, kind="stable")
    rows = []
    for index, part in enumerate(np.array_split(order, min(n_bins, max(len(p), 1)))):
        if len(part):
            low, high = wilson(int(label[part].sum()), len(part))
            rows.append({"bin": index + 1, "n_pairs": len(part), "foretold": float(p[part].mean()),
                         "observed": float(label[part].mean()), "low": low, "high": high})
    return pd.DataFrame(rows, columns=["bin", "n_pairs", "foretold", "observed", "low", "high"])


def wilson(n_positive: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    share = n_positive / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return float(max(centre - half, 0)), float(min(centre + half, 1))


def ece(p: np.ndarray, label: np.ndarray, *, n_bins: int = N_BINS) -> float:
    """Expected calibration error: mean |observed - foretold| over bins of equal count."""
    table = reliability(p, label, n_bins=n_bins)
    return float(np.average((table["observed"] - table["foretold"]).abs(), weights=table["n_pairs"]))


def ece_null(p: np.ndarray, *, rng: np.random.Generator, n_bins: int = N_BINS, n_draws: int = 200) -> tuple[float, float]:
    """The 95 % band of the ECE if every probability were right; it is never zero."""
    order = np.argsort(p, kind="stable")
    parts = [part for part in np.array_split(order, min(n_bins, len(p))) if len(part)]
    sizes = np.array([len(part) for part in parts])
    mean = np.array([p[part].mean() for part in parts])
    spread = np.array([np.sqrt((p[part] * (1 - p[part])).sum()) / len(part) for part in parts])
    draws = rng.standard_normal((n_draws, len(parts))) * spread
    values = np.abs(np.clip(mean + draws, 0, None) - mean) @ sizes / sizes.sum()
    return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))


def quality(p: np.ndarray, label: np.ndarray, group: np.ndarray, *, rng: np.random.Generator) -> dict[str, float | str]:
    """Calibration in figures: rates, Brier, log loss, ECE with its null band, slope, intercept and level.

    `slope` and `intercept` are those of the logistic line through the log-odds of `p`, the interval of the intercept
    with the slope kept; `level` is the shift of all log-odds that makes foretold and observed rates equal. Intervals
    are clustered by customer (`group`). The three are missing where there are fewer than 20 responses.
    """
    out: dict[str, float | str] = {
        "n_pairs": len(p), "n_responses": int(label.sum()), "foretold": _mean(p), "observed": _mean(label),
        "brier": _mean((p - label) ** 2),
        "log_loss": _mean(-np.where(label == 1, np.log(np.clip(p, EDGE, 1)), np.log(np.clip(1 - p, EDGE, 1)))),
    }
    if len(p):
        low, high = ece_null(p, rng=rng)
        out |= {"ece": ece(p, label), "ece_null_low": low, "ece_null_high": high}
    if min(label.sum(), len(label) - label.sum()) >= MIN_SIGMOID and len(np.unique(p)) > 1:
        out |= _line(p, label, group)
    return out


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _line(p: np.ndarray, label: np.ndarray, group: np.ndarray) -> dict[str, float]:
    x = logit(p)
    slope, intercept = logistic_line(x, label)
    level = _shift(x, label)
    codes, names = pd.factorize(group)
    q = expit(x * slope + intercept)
    design = np.column_stack([np.ones(len(x)), x])
    bread = np.linalg.inv((design * (q * (1 - q))[:, None]).T @ design)
    score = np.column_stack([np.bincount(codes, weights=design[:, column] * (label - q), minlength=len(names))
                             for column in range(2)])
    found = {}
    for name, value, error in (("slope", slope, np.sqrt((bread @ (score.T @ score) @ bread)[1, 1])),
                               ("intercept", intercept, _level_error(q, label, codes)),
                               ("level", level, _level_error(expit(x + level), label, codes))):
        found |= {name: value, f"{name}_low": float(value - 1.96 * error), f"{name}_high": float(value + 1.96 * error)}
    return found


def _level_error(p: np.ndarray, label: np.ndarray, codes: np.ndarray) -> float:
    """Standard error of a shift of all log-odds, customers as clusters."""
    return float(np.sqrt((np.bincount(codes, weights=label - p) ** 2).sum()) / (p * (1 - p)).sum())


def quality_sentence(found: dict[str, float | str]) -> str:
    """Say whether the probabilities hold: level, slope, and ECE against its null band."""
    if not found.get("n_pairs"):
        return "p_response cannot be held against anything: the test window has no pairs."
    if "slope" not in found:
        return (f"p_response cannot be judged: the test window has {found['n_responses']:,} responses, at least "
                f"{MIN_SIGMOID} are needed on either side.")
    low, high = found["slope_low"], found["slope_high"]
    slope = f"slope {found['slope']:.2f} [{low:.2f}, {high:.2f}]"
    level = f"{100 * found['foretold']:.2f} % foretold, {100 * found['observed']:.2f} % observed"
    is_null = found["ece"] <= found["ece_null_high"]
    off = [_off("slope", found["slope"], low, high, target=1.0),
           _off("level", found["level"], found["level_low"], found["level_high"], target=0.0)]
    wrong = [name for name, state in off if state == "wrong"]
    open_ = [name for name, state in off if state == "open"]
    if wrong:
        verdict = f"is off in {' and '.join(wrong)}"
    elif open_:
        verdict = f"cannot be judged in {' and '.join(open_)}, with {found['n_responses']:,} responses"
    elif is_null:
        verdict = "can be read as a probability"
    else:
        verdict = "is right in level and slope, yet off in places by more than chance"
    band = "inside" if is_null else "outside"
    return (f"p_response {verdict}: {level}, {slope}, level {found['level']:+.2f} [{found['level_low']:+.2f}, "
            f"{found['level_high']:+.2f}] in log-odds; ECE {found['ece']:.4f} is {band} the band of perfect probabilities "
            f"(up to {found['ece_null_high']:.4f}).")


def _off(name: str, value: float, low: float, high: float, *, target: float) -> tuple[str, str]:
    """Whether a figure is within 0.1 of its target, beyond it for sure, or beyond it with an interval that is not."""
    if abs(value - target) <= 0.1:
        return name, "right"
    return name, "open" if low <= target <= high else "wrong"
