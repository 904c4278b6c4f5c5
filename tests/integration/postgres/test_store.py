"""The store on PostgreSQL does all that it does on a file."""

from store_behaviour import *  # noqa: F403 - the tests that both databases run
