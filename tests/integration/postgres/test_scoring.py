"""Scoring on PostgreSQL counts as it does on a file."""

from scoring_behaviour import *  # noqa: F403 - the tests that both databases run
