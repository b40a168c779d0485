"""Rankers: named features in, log-odds of a response out, and the parts of it.

`additive` (default) is a logistic regression on lines and on bends of them: the log-odds are a sum of one curve a
feature, so that every part is exact. `boosted` is gradient boosting; its parts are what everyone gets and one
remainder. Either is fitted apart for what a customer buys again, for what is new to them, and for customers without a
history, because the same number means different things there; each has its own calibrator, fitted on a later window.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from reclib.ranking.calibration import Calibrator, calibrate, logit
from reclib.ranking.features import GROUPS, KEYS, column, names

RANKERS = ("additive", "boosted")
N_KNOTS = 6
STRENGTH = 0.01
BEND = 0.3
RANK, SCORE = "source_rank_", "source_score_"
MAX_ROWS = {"additive": 60_000, "boosted": 150_000}
MIN_RESPONSES = 30
AGAIN, NEW, COLD = "again", "new", "cold"
TASKS = (AGAIN, NEW, COLD)


@dataclass
class Additive:
    """Logistic regression on lines and their bends between quantile knots; one exact curve a feature.

    The penalty (ridge) lies lightly on the slope of the line and heavily, by 1 / BEND squared, on the bends: with few
    responses a curve is a line, with many it may be anything. A missing rank counts as behind the last one. Scores of
    the sources are left out: their scale moves whenever a source learns from more, the ranks' does not.

    Attributes:
        base: log-odds of an average pair.
        curves: feature -> (knots, log-odds at the knots, log-odds where the feature is missing), each centred.
    """

    strength: float = STRENGTH
    base: float = 0.0
    curves: dict[str, tuple[np.ndarray, np.ndarray, float]] = field(default_factory=dict)

    def fit(self, frame: pd.DataFrame, label: np.ndarray, weight: np.ndarray) -> Additive:
        """Fit to features, labels and weights; features that do not vary are left out."""
        from sklearn.linear_model import LogisticRegression

        bases = {name: _basis(frame[name].to_numpy(dtype="float64"), is_rank=name.startswith(RANK))
                 for name in names(frame) if not name.startswith(SCORE)}
        bases = {name: basis for name, basis in bases.items() if basis is not None}
        self.base = float(logit(np.average(label, weights=weight)))
        if not bases:
            return self
        design = np.concatenate([basis(frame[name].to_numpy(dtype="float64")) for name, basis in bases.items()], axis=1)
        mean = weight @ design / weight.sum()
        design -= mean
        model = LogisticRegression(C=self.strength, solver="newton-cholesky", tol=1e-8, max_iter=100)
        model.fit(design, label, sample_weight=weight)
        fitted, self.base = model.coef_[0], float(model.intercept_[0])
        start = 0
        for name, basis in bases.items():
            values = basis(np.append(basis.knots, np.nan))
            part = slice(start, start + values.shape[1])
            start = part.stop
            values = (values - mean[part]) @ fitted[part]
            self.curves[name] = (basis.knots, values[:-1], float(values[-1]))
        return self

    def parts(self, frame: pd.DataFrame) -> dict[str, np.ndarray]:
        """Log-odds by group of features; with `base` they are all there is."""
        out: dict[str, np.ndarray] = {}
        for name in self.curves:
            group = name.split("_")[0]
            out[group] = out.get(group, 0.0) + self.curve(name, column(frame, name))
        return out

    def curve(self, name: str, x: np.ndarray) -> np.ndarray:
        """What a feature adds to the log-odds at each value; flat beyond the outer knots."""
        knots, values, missing = self.curves[name]
        return np.where(np.isnan(x), missing, np.interp(x, knots, values))


@dataclass
class Boosted:
    """Gradient boosted trees; the log-odds are one remainder beside the base."""

    seed: int = 7
    base: float = 0.0
    model: object | None = None
    columns: list[str] = field(default_factory=list)

    def fit(self, frame: pd.DataFrame, label: np.ndarray, weight: np.ndarray) -> Boosted:
        """Fit to features, labels and weights."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        self.columns = [name for name in names(frame) if frame[name].nunique(dropna=False) > 1 and frame[name].notna().any()]
        self.base = float(logit(np.average(label, weights=weight)))
        if not self.columns:
            return self
        self.model = HistGradientBoostingClassifier(
            max_iter=150, learning_rate=0.05, max_leaf_nodes=15, min_samples_leaf=100, l2_regularization=5,
            early_stopping=False, random_state=self.seed)
        self.model.fit(self._matrix(frame), label, sample_weight=weight)
        return self

    def parts(self, frame: pd.DataFrame) -> dict[str, np.ndarray]:
        """The log-odds beyond `base`, as one remainder."""
        if self.model is None or not len(frame):
            return {"model": np.zeros(len(frame))}
        return {"model": np.round(self.model.decision_function(self._matrix(frame)), 9) - self.base}

    def _matrix(self, frame: pd.DataFrame) -> np.ndarray:
        return frame.reindex(columns=self.columns).to_numpy(dtype="float32")


@dataclass(frozen=True)
class Fitted:
    """A ranker and its calibrator for each task, or a constant where a task has too few responses.

    Attributes:
        ranker: additive, boosted or popularity (nothing could be learnt).
        models, calibrators: by task, `again` and `new`.
        sentences: what the page says about how it was fitted.
    """

    ranker: str
    models: dict[str, Additive | Boosted]
    calibrators: dict[str, Calibrator]
    sentences: tuple[str, ...]


def fit(windows: list[pd.DataFrame], *, ranker: str = "additive", seed: int = 7) -> Fitted:
    """Fit on all labelled windows but the last, calibrate on the last, then fit once more on all of them.

    Where responses already fill a quarter of the rows that a ranker learns from, more of them would only push out pairs
    without one, and the first fit stays. The slope of the calibrator is kept: it says how far a ranker may be trusted
    that looks one window ahead, as the last fit will have to. Its level is moved to the rate of the last window.

    Args:
        windows: features with `label`, in time order, at least two.
        ranker: `additive` or `boosted`.
        seed: which pairs without a response are kept where there are too many.

    Returns:
        The fitted ranker. With fewer than 30 responses to train on it falls back to popularity, and says so.

    Raises:
        ValueError: unknown ranker, fewer than two windows, an infinite feature.
    """
    if ranker not in RANKERS:
        raise ValueError(f"ranker == {ranker!r}, must be one of {list(RANKERS)}.")
    if len(windows) < 2:
        raise ValueError(f"{len(windows)} label windows, must be at least two: one to train on, one to calibrate on.")
    for window in windows:
        require_finite(window)
    train, later, everything = pd.concat(windows[:-1], ignore_index=True), windows[-1], pd.concat(windows, ignore_index=True)
    if int(train["label"].sum()) < MIN_RESPONSES:
        return _unlearned(everything)
    learnt, calibrators, said = {}, {}, []
    for task in TASKS:
        if not len(of_task(everything, task)):
            continue
        rows = of_task(train, task)
        is_own = min(rows["label"].sum(), len(rows) - rows["label"].sum()) >= MIN_RESPONSES
        if not is_own:
            shared = NEW if task == COLD and NEW in learnt else None
            said.append(f"Pairs {_ABOUT[task]}: {int(rows['label'].sum())} responses of {len(rows):,} in training; "
                        f"they share the ranker of {'pairs ' + _ABOUT[NEW] if shared else 'all pairs'}.")
            if shared:
                continue
        newest, rows = of_task(later, task), rows if is_own else train
        learnt[task] = _fit_one(rows, ranker, seed)
        calibrator = _calibrate(learnt[task], newest, later)
        if 4 * rows["label"].sum() < MAX_ROWS[ranker]:
            learnt[task] = _fit_one(of_task(everything, task) if is_own else everything, ranker, seed)
        calibrators[task] = calibrator.levelled(raw_score(learnt[task], newest), newest["label"].to_numpy())
        said.append(_calibrator_sentence(task, calibrator, newest))
    return Fitted(ranker, learnt, calibrators, tuple(said))


_ABOUT = {AGAIN: "bought before", NEW: "new to the customer", COLD: "of customers without a history"}


def of_task(frame: pd.DataFrame, task: str) -> pd.DataFrame:
    """Rows of one task: `again` (the pair responded before), `new`, or `cold` (new, and nothing is known of the customer)."""
    is_new, is_known = frame["is_new"].to_numpy(), frame["is_known_customer"].to_numpy()
    return frame[{AGAIN: ~is_new, NEW: is_new & is_known, COLD: is_new & ~is_known}[task]]


def require_finite(frame: pd.DataFrame) -> None:
    """Raise where a feature is infinite; missing values are allowed and mean "not applicable"."""
    for name in names(frame):
        bad = np.isinf(frame[name].to_numpy(dtype="float64"))
        if bad.any():
            first = tuple(getattr(part, "item", lambda part=part: part)() for part in frame.loc[bad, KEYS].iloc[0])
            raise ValueError(f"features: {name} is infinite in {int(bad.sum()):,} rows, first (customer, item) == "
                             f"{first!r}; a feature must be a finite number or missing.")


def _unlearned(everything: pd.DataFrame) -> Fitted:
    rate = float(everything["label"].mean()) if len(everything) else 0.0
    n = int(everything["label"].sum())
    said = (f"Nothing was learnt: {n} responses in {len(everything):,} pairs, at least {MIN_RESPONSES} are needed to "
            f"train; pairs are ordered by popularity and p_response is the base rate of {rate:.2g} for all.")
    flat = Additive(base=float(logit(rate)))
    same = Calibrator("none", np.array([1.0]), np.array([0.0]), {})
    return Fitted("popularity", {AGAIN: flat, NEW: flat}, {AGAIN: same, NEW: same}, (said,))


def _fit_one(rows: pd.DataFrame, ranker: str, seed: int) -> Additive | Boosted:
    label = rows["label"].to_numpy()
    keep, weight = _thinned(label, MAX_ROWS[ranker], seed)
    model = Additive() if ranker == "additive" else Boosted(seed=seed)
    return model.fit(rows.iloc[keep], label[keep], weight)


def _thinned(label: np.ndarray, most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Keep all responses (up to half of `most`) and a random part of the rest, weighted so that rates stay true."""
    rng = np.random.default_rng(seed)
    kept, weight = [], []
    positive, negative = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    n_positive = min(len(positive), max(most // 2, most - len(negative)))
    for rows, n in ((positive, n_positive), (negative, min(len(negative), most - n_positive))):
        kept.append(np.sort(rng.choice(rows, size=n, replace=False)) if n < len(rows) else rows)
        weight.append(np.full(n, len(rows) / n if n else 1.0))
    order = np.argsort(np.concatenate(kept), kind="stable")
    return np.concatenate(kept)[order], np.concatenate(weight)[order]


def raw_score(model: Additive | Boosted, frame: pd.DataFrame) -> np.ndarray:
    """Log-odds before calibration."""
    return model.base + sum(model.parts(frame).values(), np.zeros(len(frame)))


def _calibrate(model: Additive | Boosted, rows: pd.DataFrame, later: pd.DataFrame) -> Calibrator:
    rows = rows if int(rows["label"].sum()) else later
    return calibrate(raw_score(model, rows), rows["label"].to_numpy(), rows["customer_id"].to_numpy())


def _calibrator_sentence(task: str, calibrator: Calibrator, rows: pd.DataFrame) -> str:
    tried = ", ".join(f"{name} {value:.5f}" for name, value in calibrator.brier.items())
    how = f" (Brier score on unseen customers: {tried})" if tried else ""
    return (f"Pairs {_ABOUT[task]}: calibrator {calibrator.method}{how}, fitted on a later window of {len(rows):,} pairs "
            f"with {int(rows['label'].sum()):,} responses.")


@dataclass(frozen=True)
class _Basis:
    """Columns of a feature: a line, bends at the inner knots, and a mark of missing values; constant beyond the knots.

    Attributes:
        knots: quantiles of the values, ascending.
        middle, spread: mean and standard deviation of the values.
        missing: where a missing value stands on the line.
        has_missing: whether there were any.
    """

    knots: np.ndarray
    middle: float
    spread: float
    missing: float
    has_missing: bool

    def __call__(self, x: np.ndarray) -> np.ndarray:
        there = ~np.isnan(x)
        placed = np.clip(np.where(there, x, self.missing), self.knots[0], self.knots[-1])
        columns = [(placed - self.middle) / self.spread]
        columns += [BEND * there * np.interp(placed, self.knots, hat) for hat in np.eye(len(self.knots))[1:-1]]
        return np.column_stack([*columns, BEND * ~there] if self.has_missing else columns)


def _basis(x: np.ndarray, *, is_rank: bool) -> _Basis | None:
    """The basis of a feature; None where it does not vary."""
    there = x[~np.isnan(x)]
    if not len(there) or (len(there) == len(x) and there.min() == there.max()):
        return None
    knots = np.unique(np.quantile(there, np.linspace(0, 1, N_KNOTS)))
    middle = float(there.mean())
    return _Basis(knots, middle, float(there.std()) or 1.0, float(knots[-1]) if is_rank else middle, len(there) < len(x))


def predict(fitted: Fitted, frame: pd.DataFrame) -> pd.DataFrame:
    """Probability of a response of each pair, and what it is made of.

    The difference between the pair's probability and the base (an average pair of its task) is shared among the
    groups of features in proportion to what each adds to the log-odds: exact, and in the unit of the probability.

    Returns:
        customer_id, item_id, is_new, is_known_customer, is_known_item, raw (log-odds, for ties), p_response (rounded
        to a millionth), and `part_base`, `part_pair`, ... which sum to it.
    """
    require_finite(frame)
    done = [_predict_task(fitted, of_task(frame, task), task) for task in TASKS]
    out = pd.concat([rows for rows in done if len(rows)] or done[:1])
    parts = [name for name in out.columns if name.startswith("part_")]
    return out.assign(**{name: out[name].fillna(0.0) for name in parts}).sort_values(
        ["customer_id", "item_id"], ignore_index=True)


def _predict_task(fitted: Fitted, rows: pd.DataFrame, task: str) -> pd.DataFrame:
    kept = rows[["customer_id", "item_id", "is_new", "is_known_customer", "is_known_item"]]
    task = next(name for name in (task, NEW, AGAIN, COLD) if name in fitted.models)
    model, calibrator = fitted.models[task], fitted.calibrators[task]
    added = model.parts(rows)
    raw = model.base + sum(added.values(), np.zeros(len(rows)))
    p = np.round(calibrator(np.round(raw, 9)), 6)
    base = float(calibrator(np.array([model.base]))[0])
    distance = raw - model.base
    near = np.abs(distance) < 1e-9
    slope = np.where(near, 0.0, (p - base) / np.where(near, 1.0, distance))
    parts = {f"part_{name}": added[name] * slope for name in [*GROUPS, "model"] if name in added}
    rest = p - sum(parts.values(), np.zeros(len(rows)))
    return kept.assign(raw=np.round(raw, 6), p_response=p, part_base=rest, **parts)
