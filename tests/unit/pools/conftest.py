"""`--update-golden`: write the golden files anew instead of comparing with them."""

from __future__ import annotations

from contextlib import suppress

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option; give it with the folder: `pytest tests/unit/pools --update-golden`."""
    with suppress(ValueError):  # tests/golden has it, too
        parser.addoption("--update-golden", action="store_true", help="write golden files anew")


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    """Tell whether golden files shall be written."""
    return bool(request.config.getoption("--update-golden", default=False))
