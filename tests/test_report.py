"""What a page prints is plain, rounded and never misleading."""

import IPython.display
import pandas as pd
import pytest

from reclib import report


@pytest.fixture
def displayed(monkeypatch) -> list:
    """What the notebook would show, in order."""
    shown: list = []
    monkeypatch.setattr(IPython.display, "display", lambda output, **_: shown.append(output))
    return shown


@pytest.fixture
def text_of(displayed):
    def show(frame: pd.DataFrame, **options) -> str:
        report.show(frame, **options)
        return "\n".join(output["text/plain"] if isinstance(output, dict) else output.data for output in displayed)

    return show


def test_shares_are_written_as_percentages_and_missing_ones_left_blank(text_of):
    frame = pd.DataFrame({"share": [0.12345, None], "rate": [0.001, 0.5], "mean": [0.1, 0.2]})
    assert [line.split() for line in text_of(frame, shares=("share", "rate")).split("\n")[1:]] == [
        ["12.3", "%", "0.1", "%", "0.1"], ["50.0", "%", "0.2"]]


def test_numbers_are_rounded_and_ids_are_not_grouped(text_of):
    text = text_of(pd.DataFrame({"customer_id": [12345], "n": [12345], "mean": [0.12345], "whole": [2.0]}))
    assert text.split("\n")[1].split() == ["12345", "12,345", "0.123", "2"]


def test_a_small_p_value_is_given_as_a_bound(text_of):
    assert text_of(pd.DataFrame({"p_value": [1e-9, 0.25]})).split("\n")[1:] == ["<\u00a00.001", "  0.250"]


def test_rows_left_out_are_counted(text_of):
    assert "further" not in text_of(pd.DataFrame({"a": range(13)}), rows=12)
    assert text_of(pd.DataFrame({"a": range(15)}), rows=12).endswith("3 further rows.")


def test_an_empty_table_is_a_sentence(text_of):
    assert text_of(pd.DataFrame({"a": []})) == "Nothing to list."


def test_labels_stand_in_for_column_names(text_of):
    assert "old policy" in text_of(pd.DataFrame({"mean_control": [1.0]}), labels={"mean_control": "old policy"})


def test_markup_in_a_name_is_text(displayed):
    report.show(pd.DataFrame({"title": ["<script>alert(1)</script>"]}))
    assert "<script>" not in displayed[0]["text/html"]


def test_a_takeaway_is_one_line():
    with pytest.raises(ValueError, match="one line"):
        report.takeaway("two\nlines")


@pytest.mark.parametrize(("value", "text"), [(1234.5, "1,234"), (0.01234, "0.0123"), (0.0, "0"), (float("nan"), "not known")])
def test_numbers_in_sentences(value, text):
    assert report.number(value) == text
