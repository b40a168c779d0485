"""The readout of two whole experiments held against what five libraries said of them (`golden/README.md` says how)."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from golden.experiments_peers import CASES, gate

from reclib.experiments import readout, srm
from reclib.experiments.plan import parse
from reclib.sources import catalog

SAID = pd.read_csv(Path(__file__).parent / "golden" / "experiments.csv", keep_default_na=False)
FIELDS = ["effect", "effect_low", "effect_high", "width", "se", "p_value", "lift_low", "lift_high"]
SUMS = [[915899, 1991, 2910], [897875, 1866, 3587]]


def read(units: pd.DataFrame, data: str) -> pd.DataFrame:
    case = CASES[data]
    means = {name: {"role": "exploratory"} for name in case["means"]}
    ratios = {name: {"role": "exploratory", "kind": "ratio", "numerator": top, "denominator": below} for name, (top, below) in case["ratios"].items()}
    quantiles = {name: {"role": "exploratory", "kind": "quantile", "column": column, "quantile": q} for name, (column, q) in case["quantiles"].items()}
    arms = sorted(units["arm"].unique())
    table = readout.readout(units, parse({
        "experiment_id": data, "control": case["control"], "expected_shares": dict.fromkeys(arms, 1 / len(arms)),
        "metrics": means | ratios | quantiles, "covariates": [case["covariate"]], "sequential": {"n_star": 5000}}))
    table = table.assign(width=table["effect_high"] - table["effect_low"])[["metric", "arm", "method", *FIELDS]]
    counts = units["arm"].value_counts().to_numpy()
    split = pd.DataFrame({"metric": "", "arm": "", "method": "sample_ratio", "p_value": [float(srm.sample_ratio(counts, np.full(len(arms), 1 / len(arms))))]})
    return pd.concat([table, split]).set_index(["metric", "arm", "method"])


@pytest.fixture(scope="module")
def readouts():
    found = {"gate": read(gate(), "gate")}
    if catalog.describe("hillstrom")["is_here"]:
        found["hillstrom"] = read(catalog.load("hillstrom").tables["units"].drop(columns="experiment_id"), "hillstrom")
    return found


@pytest.mark.parametrize("data", ["gate", "hillstrom"])
@pytest.mark.parametrize("library", sorted(SAID["library"].unique()))
def test_the_readout_has_the_digits_of_the_libraries(readouts, data, library):
    if data not in readouts:
        pytest.skip("the Hillstrom data is not here")
    said = SAID[(SAID["data"] == data) & (SAID["library"] == library)]
    ours = np.array([readouts[data].loc[(row.metric, row.arm, row.method), row.field] for row in said.itertuples()], dtype=float)
    is_off = abs(ours - said["value"]) > said["rel"] * abs(said["value"])
    assert said.assign(ours=ours)[is_off].to_dict("records") == [] and len(said) > 5


def test_the_made_up_experiment_is_the_same_on_every_machine():
    assert gate().groupby("arm")[["rounds", "retained", "orders"]].sum().to_numpy().tolist() == SUMS


def test_every_kind_of_estimate_was_asked_of_two_libraries():
    kinds = SAID.groupby("method")["library"].nunique()
    assert kinds[["unadjusted", "cuped", "sample_ratio"]].min() >= 2 and kinds["unadjusted_anytime"] == 1
