"""`--update-golden`: write the golden files anew instead of comparing with them."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option; give it with the folder: `pytest tests/golden --update-golden`."""
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/*/*.yaml anew")


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    """Tell whether golden files shall be written."""
    return bool(request.config.getoption("--update-golden", default=False))
