"""Scoring on PostgreSQL counts as it does on a file."""

import pytest

from scoring_behaviour import *  # noqa: F403 - the tests that both databases run

pytestmark = pytest.mark.postgres
