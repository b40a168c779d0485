"""What a page prints is plain, rounded and never misleading."""

import pandas as pd
import pytest
from IPython.utils.capture import capture_output

from reclib import report


def _shown(frame: pd.DataFrame, **options) -> str:
    with capture_output() as captured:
        report.show(frame, **options)
    return "\n".join(output.data["text/plain"] if "text/html" in output.data else output.data["text/markdown"]
                     for output in captured.outputs)


def test_numbers_are_rounded_and_ids_are_not_grouped():
    text = _shown(pd.DataFrame({"customer_id": [12345], "n": [12345], "mean": [0.12345], "whole": [2.0]}))
    assert text.split("\n")[1].split() == ["12345", "12,345", "0.123", "2"]


def test_a_small_p_value_is_given_as_a_bound():
    assert _shown(pd.DataFrame({"p_value": [1e-9, 0.25]})).split("\n")[1:] == ["< 0.001", "  0.250"]


def test_rows_left_out_are_counted():
    assert _shown(pd.DataFrame({"a": range(15)}), rows=12).endswith("3 further rows.")


def test_an_empty_table_is_a_sentence():
    assert _shown(pd.DataFrame({"a": []})) == "Nothing to list."


def test_labels_stand_in_for_column_names():
    assert "old policy" in _shown(pd.DataFrame({"mean_control": [1.0]}), labels={"mean_control": "old policy"})


def test_markup_in_a_name_is_text():
    with capture_output() as captured:
        report.show(pd.DataFrame({"title": ["<script>alert(1)</script>"]}))
    assert "<script>" not in captured.outputs[0].data["text/html"]


def test_a_takeaway_is_one_line():
    with pytest.raises(ValueError, match="one line"):
        report.takeaway("two\nlines")


@pytest.mark.parametrize(("value", "text"), [(1234.5, "1,234"), (0.01234, "0.0123"), (0.0, "0"), (float("nan"), "not known")])
def test_numbers_in_sentences(value, text):
    assert report.number(value) == text
