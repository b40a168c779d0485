"""What came of launches: what the experiment read, what the holdout read afterwards, and the truth of both times.

One launch is a row a metric. Many shops are such rows with their seed and verdict, recorded beside the page that shows
them: after runs of `verdicts` with other seeds, `python -m reclib.experiments.launched REPORTS FILE`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from reclib import store
from reclib.experiments.calibration import rate_row
from reclib.experiments.ledger import agrees

VERDICTS = "notebooks/benchmarks/verdicts_recorded.csv"
FACTS = "shop_verdict"
KEY = ["metric", "arm", "role"]
RECORDED = ["truth", "effect", "effect_low", "effect_high"]
THEN, HOLDOUT, AFTER = "truth of the experiment", "holdout", "truth of the launch"
STAGES = [("experiment", THEN), ("experiment", HOLDOUT), ("experiment", AFTER), (HOLDOUT, AFTER)]


def holdout_plan(plan: dict, *, arm: str, share: float) -> dict:
    """The plan of the launch that follows an experiment: the same metrics, and a small share keeps the control's policy.

    Args:
        plan: of the experiment, as a record.
        arm: the new policy.
        share: of the customers that are held out, between 0 and 1.

    Raises:
        ValueError: the share leaves nobody on one side.
    """
    if not 0 < share < 1:
        raise ValueError(f"holdout_share == {share}, must lie between 0 and 1.")
    return plan | {"experiment_id": f"{plan['experiment_id']}-holdout", "expected_shares": {plan["control"]: share, arm: 1 - share}}


def pairs(experiment: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Put the readout of an experiment and that of the launch after it side by side.

    Args:
        experiment, after: metric, arm, role, the effect as read and as true: made by `launch.compare` on the storefront.

    Returns:
        One row a metric and arm; columns of the launch end in `_after`.
    """
    return experiment.merge(after, on=KEY, suffixes=("", "_after"), validate="one_to_one")


def stages(table: pd.DataFrame, *, by: str = "effect") -> pd.DataFrame:
    """Score every reading against what came later, and against the truth.

    Args:
        table: made by `pairs`, one launch or many (told apart by `seed`).
        by: effect (in the unit of the metric, a customer) or lift (share of the control group's mean).

    Returns:
        A ledger: estimator (who foretold), against (what came), metric, policy, forecast, low, high, observed, observed_low,
        observed_high, is_inside (`ledger.agrees`; a truth has no interval), and seed where it is there.
    """
    true = {"effect": "truth", "lift": "true_lift"}[by]
    names = {"experiment": (by, f"{by}_low", f"{by}_high"), HOLDOUT: (f"{by}_after", f"{by}_low_after", f"{by}_high_after"),
             THEN: (true,) * 3, AFTER: (f"{true}_after",) * 3}
    kept = table[["metric", "role", *(["seed"] if "seed" in table else [])]].assign(policy=table["arm"], gate="readout")
    parts = [kept.assign(estimator=estimator, against=against,
                         **dict(zip(("forecast", "low", "high"), (table[name] for name in names[estimator]))),
                         **dict(zip(("observed", "observed_low", "observed_high"), (table[name] for name in names[against]))))
             for estimator, against in STAGES]
    found = pd.concat(parts, ignore_index=True)
    return found.assign(is_inside=agrees(found))


def side_by_side(table: pd.DataFrame) -> pd.DataFrame:
    """What was read and what was true, in the experiment and after the launch, for people: a row a metric and time."""
    parts = [pd.DataFrame({"metric": table["metric"], "read by": name, **{to: table[f"{of}{when}"] for of, to in (
        ("effect", "effect"), ("effect_low", "at least"), ("effect_high", "at most"), ("truth", "truth"))}})
        for name, when in (("experiment", ""), (HOLDOUT, "_after"))]
    return pd.concat(parts).sort_index(kind="stable", ignore_index=True)


def lasted_sentence(table: pd.DataFrame, metric: str, *, unit: str) -> str:
    """Say of one metric what was read and what was true, in the experiment and after the launch, and whether it shrank."""
    row = table.set_index("metric").loc[metric]
    word = "shrank" if abs(row["truth_after"]) < abs(row["truth"]) else "grew"
    return (f"{metric}: the experiment read {row['effect']:+.2f} [{row['effect_low']:.2f}, {row['effect_high']:.2f}] {unit} a customer where "
            f"{row['truth']:+.2f} was true; after it the holdout read {row['effect_after']:+.2f} [{row['effect_low_after']:.2f}, "
            f"{row['effect_high_after']:.2f}] where {row['truth_after']:+.2f} was true. The true effect {word} from the one time to the other.")


def verdict_rows(table: pd.DataFrame, verdict: dict, *, seed: int) -> dict:
    """One shop as a record for `gather`: its seed, its verdict, and each metric as read and as true, then and after.

    Args:
        table: made by `pairs`, with `bend` (what sharing the stock adds to the difference that the holdout sees).
        verdict: of the experiment.
        seed: of the shop.
    """
    columns = [*KEY, *RECORDED, *(f"{name}_after" for name in RECORDED), "bend"]
    return {"seed": seed, "verdict": verdict["verdict"], "metrics": table[columns].round(6).to_dict("records")}


def gather(reports: str | Path) -> pd.DataFrame:
    """Put the records of all runs in a folder together: one row a shop and metric, by seed."""
    paths = [path for path in Path(reports).glob(f"*/{FACTS}.json") if not path.parent.is_symlink()]
    found = [json.loads(path.read_text()) for path in paths]
    rows = [row | {"seed": shop["seed"], "verdict": shop["verdict"]} for shop in found for row in shop["metrics"]]
    return pd.DataFrame(rows).sort_values(["seed", "metric"], ignore_index=True)


def verdicts() -> pd.DataFrame:
    """What `gather` gave of shops at the default size: a table of `pairs` with seed, verdict and bend."""
    return pd.read_csv(store.project() / VERDICTS)


def by_metric(shops: pd.DataFrame) -> pd.DataFrame:
    """How far each metric was read from its truth.

    Returns:
        role, metric, n_shops, true_mean, read_mean, spread (standard deviation of read less true), true_mean_after,
        read_mean_after, n_worse (shops in which the truth of the experiment was below zero).
    """
    known = shops.assign(error=shops["effect"] - shops["truth"], is_below=shops["truth"] < 0)
    return known.groupby(["role", "metric"], sort=False).agg(
        n_shops=("seed", "nunique"), true_mean=("truth", "mean"), read_mean=("effect", "mean"), spread=("error", "std"),
        true_mean_after=("truth_after", "mean"), read_mean_after=("effect_after", "mean"), n_worse=("is_below", "sum")).reset_index()


def honesty(shops: pd.DataFrame) -> pd.DataFrame:
    """How often what came lay where it was foretold, by stage and success metric, shops as units.

    Returns:
        estimator, against, metric, n_shops, n_inside, rate, low, high (exact binomial interval of 95 %), bias (mean of
        forecast less outcome) and bias_error (its standard error).
    """
    scored, rows = stages(shops[shops["role"] == "success"]), []
    for (estimator, against, metric), own in scored.groupby(["estimator", "against", "metric"], sort=False):
        hits, gap = own["is_inside"].astype(bool).to_numpy(), own["forecast"] - own["observed"]
        found = rate_row("", "", hits, target=0.95)
        rows.append({"estimator": estimator, "against": against, "metric": metric, "n_shops": len(own), "n_inside": int(hits.sum()),
                     **{name: found[name] for name in ("rate", "low", "high")}, "bias": gap.mean(), "bias_error": gap.std() / np.sqrt(len(own))})
    return pd.DataFrame(rows)


def honesty_sentence(table: pd.DataFrame, metric: str) -> str:
    """Say of one metric how often each stage was honest, and where its rate is not that of its intervals."""
    own = table[table["metric"] == metric]
    parts = [f"the {row.estimator}'s interval met the {row.against} in {row.n_inside} of {row.n_shops} shops ({100 * row.rate:.0f} % "
             f"[{100 * row.low:.0f}, {100 * row.high:.0f}])" for row in own.itertuples()]
    off = [f"{row.estimator} against {row.against}" for row in own.itertuples() if not row.low <= 0.95 <= row.high]
    rest = f"Not at the stated 95 %: {', '.join(off)}." if off else "Each of these rates can be the stated 95 %."
    return f"Of {metric}, {'; '.join(parts)}. {rest}"


def bend_sentence(shops: pd.DataFrame, metric: str) -> str:
    """Say by how much sharing the stock bends what holdouts see, on average over shops."""
    own = shops[shops["metric"] == metric]
    half = 1.96 * own["bend"].std() / np.sqrt(len(own))
    over = own["bend"].mean() / own["truth_after"].mean()
    return (f"The stock that launch and holdout share adds {own['bend'].mean():+.2f} ± {half:.2f} to the {metric} a customer that a holdout "
            f"sees, {100 * abs(over):.0f} % of the true effect.")


def verdict_sentence(shops: pd.DataFrame, metric: str) -> str:
    """Say how the verdicts fell, and how often they were right about the metric that pays."""
    each = shops[shops["metric"] == metric]
    parts = []
    for word, own in each.groupby("verdict"):
        better = int((own["truth_after"] > 0).sum())
        parts.append(f"{word} {len(own)}, after which the new policy was truly better in {better} and worse in {len(own) - better}")
    return f"Verdicts of {len(each)} shops by {metric}: {'; '.join(parts)}."


def curse_sentence(shops: pd.DataFrame, metric: str) -> str:
    """Say whether what was shipped had been read too well, and whether it shrank afterwards."""
    each = shops[shops["metric"] == metric]
    shipped = each[each["verdict"] == "SHIP"]
    if len(shipped) < 2:
        return "Fewer than two shops shipped, so nothing can be said of what shipping selects."
    told = []
    for first, second, words in (("effect", "truth", "was read by {} than it was in the days of the experiment"),
                                 ("truth_after", "truth", "was truly by {} in the days of the launch than in those of the experiment")):
        gap = shipped[first] - shipped[second]
        half = 1.96 * gap.std() / np.sqrt(len(gap))
        size = f"{abs(gap.mean()):.2f} ± {half:.2f} {'more' if gap.mean() > 0 else 'less'}"
        told.append(f"{words.format(size)} ({'beyond' if abs(gap.mean()) > half else 'within'} chance)")
    return f"In the {len(shipped)} shops that shipped, {metric} a customer {'; it '.join(told)}."


if __name__ == "__main__":
    gather(sys.argv[1]).to_csv(sys.argv[2], index=False)
