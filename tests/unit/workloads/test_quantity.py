"""Quantities: the amounts that they say."""

from __future__ import annotations

from decimal import Decimal

import pytest

from pointsman.workloads.quantity import amount, same


@pytest.mark.parametrize(
    ("text", "number"),
    [("500m", "0.5"), ("2", "2"), ("1.5", "1.5"), ("2k", "2000"), ("1Ki", "1024"), ("1.5Gi", "1610612736")],
)
def test_a_quantity_is_an_amount(text: str, number: str) -> None:
    """Decimal and binary units, and thousandths."""
    assert amount(text) == Decimal(number)


def test_what_is_no_quantity_is_refused_with_an_example() -> None:
    """The message shows how one is written."""
    with pytest.raises(ValueError, match="500m, 2, 512Mi"):
        amount("many")


def test_the_same_amount_in_other_words_is_the_same() -> None:
    """The API server writes 1000m as 1 and 1024Mi as 1Gi."""
    assert same("1000m", "1")
    assert same("1024Mi", "1Gi")
    assert not same("1G", "1Gi")
    assert not same("x", "x")
