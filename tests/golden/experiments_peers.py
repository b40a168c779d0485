"""What other libraries say of two experiments, as CSV: `python experiments_peers.py HILLSTROM.csv LIBRARY ...`.

Each row names the field of our readout that it is held against, and how near the two must be.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from importlib.metadata import version

import numpy as np
import pandas as pd

EXACT, CLOSE, ROUGH = 1e-7, 1e-5, 0.04
COLUMNS = ["data", "metric", "arm", "method", "field", "value", "rel", "library", "call"]
CASES = {
    "hillstrom": {"control": "No E-Mail", "covariate": "history", "means": ["visit", "conversion", "spend"],
                  "ratios": {"per_visit": ("spend", "visit"), "aov": ("spend", "conversion")}, "quantiles": {}},
    "gate": {"control": "gate_30", "covariate": "rounds_before", "means": ["rounds", "retained", "spend"],
             "ratios": {"aov": ("spend", "orders")}, "quantiles": {"wait_90": ("wait", 0.9), "wait_50": ("wait", 0.5)}},
}


def main(path: str, libraries: list[str]) -> None:
    """Print the rows of these libraries."""
    hillstrom = pd.read_csv(path).rename(columns={"segment": "arm"})
    tables = {"hillstrom": hillstrom, "gate": gate()}
    out = csv.writer(sys.stdout, lineterminator="\n")
    for library, rows_of in {"scipy": of_scipy, "statsmodels": of_statsmodels, "tea-tasting": of_tea_tasting,
                             "gbstats": of_gbstats, "spotify-confidence": of_spotify}.items():
        if library not in libraries:
            continue
        name = f"{library} {version(library)}"
        for data, units in tables.items():
            case = CASES[data]
            for arm in sorted(set(units["arm"]) - {case["control"]}):
                pair = units[units["arm"].isin([arm, case["control"]])]
                for metric, method, fields, rel, call in rows_of(pair, arm, case):
                    for field, value in fields.items():
                        out.writerow([data, metric, arm, method, field, f"{float(value):.12g}", rel, name, call])
            if library in ("scipy", "spotify-confidence"):
                p, call = (ratio_of_scipy if library == "scipy" else ratio_of_spotify)(units["arm"].value_counts(), data)
                out.writerow([data, "", "", "sample_ratio", "p_value", f"{p:.12g}", EXACT, name, call])


Rows = Iterator[tuple[str, str, dict[str, float], float, str]]


def gate(n: int = 20_000, seed: int = 30) -> pd.DataFrame:
    """Players of two versions of a game: rounds (heavy tail), retention, spend (zero for most), orders, waits, earlier rounds.

    Made of raw bits and not of distributions, so that it is the same in every venv.
    """
    draw = np.random.PCG64(seed).random_raw(n * 7).reshape(7, n) >> np.uint64(11)
    u = (draw.astype(float) + 0.5) / 2**53
    is_new = u[0] < 0.503
    eager = -np.log(u[1])
    orders = np.floor(eager * u[2] * np.where(is_new, 1.15, 1.0) + 0.25).astype("int64")
    return pd.DataFrame({
        "customer_id": np.arange(1, n + 1), "arm": np.where(is_new, "gate_40", "gate_30"),
        "rounds": np.floor(30 * eager / (u[3] + 0.05)).astype("int64"),
        "retained": (u[4] < 0.15 + 0.05 * np.minimum(eager, 4) - 0.01 * is_new).astype("int64"),
        "orders": orders, "spend": np.round(orders * (3 + 9 * u[5] ** 3), 2), "wait": np.round(60 / (u[6] + 0.1), 3),
        "rounds_before": np.floor(25 * eager + 20 * u[2]).astype("int64"),
    })


def split(pair: pd.DataFrame, arm: str, column: str) -> tuple[np.ndarray, np.ndarray]:
    """The values of an arm and of the control."""
    is_arm = (pair["arm"] == arm).to_numpy()
    values = pair[column].to_numpy(dtype=float)
    return values[is_arm], values[~is_arm]


def of_scipy(pair: pd.DataFrame, arm: str, case: dict) -> Rows:
    """Welch's test, and the interval of the lift: all ratios r that a Welch test of arm against r x control does not refuse."""
    from scipy.optimize import brentq
    from scipy.stats import ttest_ind

    for metric in case["means"]:
        new, old = split(pair, arm, metric)
        test = ttest_ind(new, old, equal_var=False)
        low, high = test.confidence_interval(0.95)
        yield metric, "unadjusted", {"effect": new.mean() - old.mean(), "effect_low": low, "effect_high": high,
                                     "p_value": test.pvalue}, EXACT, "ttest_ind(equal_var=False)"
        outside = lambda r: ttest_ind(new, r * old, equal_var=False).pvalue - 0.05  # noqa: B023
        best = new.mean() / old.mean()
        ends = brentq(outside, best / 9, best, xtol=1e-12), brentq(outside, best, best * 9, xtol=1e-12)
        yield metric, "unadjusted", {"lift_low": ends[0] - 1, "lift_high": ends[1] - 1}, CLOSE, "brentq over ttest_ind(arm, r * control)"


def of_statsmodels(pair: pd.DataFrame, arm: str, case: dict) -> Rows:
    """Welch's interval; the covariate in a regression with HC2 errors; quantile regression on the arm."""
    from statsmodels.regression.linear_model import OLS
    from statsmodels.regression.quantile_regression import QuantReg
    from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

    is_arm = (pair["arm"] == arm).to_numpy(dtype=float)
    covariate = pair[case["covariate"]].to_numpy(dtype=float)
    for metric in case["means"]:
        low, high = CompareMeans(*map(DescrStatsW, split(pair, arm, metric))).tconfint_diff(usevar="unequal")
        yield metric, "unadjusted", {"effect_low": low, "effect_high": high}, EXACT, "CompareMeans.tconfint_diff(usevar='unequal')"
        design = np.column_stack([np.ones(len(pair)), is_arm, covariate - covariate.mean()])
        fit = OLS(pair[metric].to_numpy(dtype=float), design).fit(cov_type="HC2")
        yield metric, "cuped", {"effect": fit.params[1], "se": fit.bse[1]}, 2e-3, "OLS(arm, covariate).fit(cov_type='HC2')"
    for metric, (column, q) in case["quantiles"].items():
        fit = QuantReg(pair[column].to_numpy(dtype=float), np.column_stack([np.ones(len(pair)), is_arm])).fit(q=q)
        yield metric, "unadjusted", {"effect": fit.params[1], "se": fit.bse[1]}, ROUGH, f"QuantReg(arm).fit(q={q})"


def of_tea_tasting(pair: pd.DataFrame, arm: str, case: dict) -> Rows:
    """Means, ratios, and both adjusted by the covariate; a quantile by the bootstrap."""
    import tea_tasting as tt

    frame = pair.drop(columns=[name for name in pair if pair[name].dtype.kind not in "if"]).assign(
        variant=(pair["arm"] == arm).astype(int))
    frame[case["covariate"]] = frame[case["covariate"]].astype(float)
    one, known = np.ones(len(frame)), case["covariate"]
    frame = frame.assign(one=one)
    asked = {(metric, "unadjusted"): tt.Mean(metric) for metric in case["means"]}
    asked |= {(metric, "cuped"): tt.Mean(metric, known) for metric in case["means"]}
    asked |= {(metric, "unadjusted"): tt.RatioOfMeans(top, below) for metric, (top, below) in case["ratios"].items()}
    asked |= {(metric, "cuped"): tt.RatioOfMeans(top, below, known, "one") for metric, (top, below) in case["ratios"].items()}
    for (metric, method), test in asked.items():
        found = tt.Experiment(m=test).analyze(frame)["m"]
        ends = {"effect_low": found.effect_size_ci_lower, "effect_high": found.effect_size_ci_upper}
        is_other = method == "cuped" and isinstance(test, tt.RatioOfMeans)  # its slope is that of a ratio of all customers
        yield (metric, method, ends if is_other else ends | {"effect": found.effect_size, "p_value": found.pvalue},
               3e-3 if is_other else 1e-6, type(test).__name__)
    for metric, (column, q) in case["quantiles"].items():
        found = tt.Experiment(m=tt.Quantile(column, q, n_resamples=2000, rng=1)).analyze(frame)["m"]
        width = {"width": found.effect_size_ci_upper - found.effect_size_ci_lower}
        yield metric, "unadjusted", {"effect": found.effect_size}, EXACT, f"Quantile(q={q})"
        yield metric, "unadjusted", width, ROUGH, f"Quantile(q={q}, n_resamples=2000, rng=1)"


def of_gbstats(pair: pd.DataFrame, arm: str, case: dict) -> Rows:
    """Welch's test, its anytime-valid form, ratios by the delta method, and one covariate."""
    from gbstats.frequentist.tests import (
        FrequentistConfig,
        SequentialConfig,
        SequentialTwoSidedTTest,
        TwoSidedTTest,
    )
    from gbstats.models.statistics import (
        RatioStatistic,
        RegressionAdjustedStatistic,
        SampleMeanStatistic,
    )

    plain, looks = FrequentistConfig(difference_type="absolute"), SequentialConfig(difference_type="absolute")
    mean = lambda x: SampleMeanStatistic(n=len(x), sum=x.sum(), sum_squares=(x * x).sum())
    known = split(pair, arm, case["covariate"])
    for metric in case["means"]:
        new, old = split(pair, arm, metric)
        for test, suffix, config in ((TwoSidedTTest, "", plain), (SequentialTwoSidedTTest, "_anytime", looks)):
            yield metric, "unadjusted" + suffix, of(test(mean(old), mean(new), config)), 1e-6, test.__name__
        joint = [RegressionAdjustedStatistic(n=len(y), post_statistic=mean(y), pre_statistic=mean(x),
                                             post_pre_sum_of_products=(x * y).sum(), theta=0.0) for y, x in zip((new, old), known)]
        yield metric, "cuped", of(TwoSidedTTest(joint[1], joint[0], plain)), 1e-5, "TwoSidedTTest(RegressionAdjustedStatistic)"
    for metric, (top, below) in case["ratios"].items():
        both = [RatioStatistic(n=len(y), m_statistic=mean(y), d_statistic=mean(x), m_d_sum_of_products=(x * y).sum())
                for y, x in zip(split(pair, arm, top), split(pair, arm, below))]
        yield metric, "unadjusted", of(TwoSidedTTest(both[1], both[0], plain)), 1e-6, "TwoSidedTTest(RatioStatistic)"


def of(test: object) -> dict[str, float]:
    """The fields of a result of gbstats; a p-value under its digits is left out."""
    found = test.compute_result()
    kept = {"p_value": found.p_value} if found.p_value > 1e-10 else {}
    return {"effect": found.expected, "effect_low": found.ci[0], "effect_high": found.ci[1], **kept}


def of_spotify(pair: pd.DataFrame, arm: str, case: dict) -> Rows:
    """Its t-test of means, from sums."""
    import spotify_confidence as confidence

    for metric in case["means"]:
        values = pair[metric].astype(float)
        sums = pair.assign(y=values, yy=values**2, n=1).groupby("arm", as_index=False)[["y", "yy", "n"]].sum()
        test = confidence.StudentsTTest(sums, "y", "yy", "n", "arm")
        row = test.difference(level_1=case["control"], level_2=arm).iloc[0]
        yield metric, "unadjusted", {"effect": row["difference"], "effect_low": row["ci_lower"], "effect_high": row["ci_upper"],
                                     **({"p_value": row["p-value"]} if row["p-value"] > 1e-10 else {})}, 1e-3, "StudentsTTest.difference"


def ratio_of_scipy(counts: pd.Series, data: str) -> tuple[float, str]:
    """The split against equal shares."""
    from scipy.stats import chisquare

    return float(chisquare(counts.to_numpy()).pvalue), "chisquare"


def ratio_of_spotify(counts: pd.Series, data: str) -> tuple[float, str]:
    """The split against equal shares."""
    import spotify_confidence as confidence

    frame = pd.DataFrame({"arm": counts.index, "y": 1.0, "yy": 1.0, "n": counts.to_numpy()})
    test = confidence.StudentsTTest(frame, "y", "yy", "n", "arm")
    p, _ = test.sample_ratio_test({arm: 1 / len(counts) for arm in counts.index})
    return float(p), "sample_ratio_test"


if __name__ == "__main__":
    csv.writer(sys.stdout, lineterminator="\n").writerow(COLUMNS)
    main(sys.argv[1], sys.argv[2:])
