"""Kubernetes quantities: `500m`, `2`, `1.5Gi`. Pure."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_POWER: Final = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** n for n, unit in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{unit: Decimal(1024) ** n for n, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
}
_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)")


def amount(quantity: str) -> Decimal:
    """Return a quantity as a number of cores, bytes, devices; `ValueError` if it is none."""
    found = _QUANTITY.fullmatch(quantity)
    if found is None or found[2] not in _POWER:
        raise ValueError(f"{quantity!r} is no quantity; write for instance 500m, 2, 512Mi or 4Gi")
    return Decimal(found[1]) * _POWER[found[2]]


def same(one: object, other: object) -> bool:
    """Tell whether two values are the same amount: the API server writes 1000m as 1."""
    try:
        return amount(str(one)) == amount(str(other))
    except ValueError:
        return False
