"""The store on PostgreSQL does all that it does on a file."""

import pytest

from store_behaviour import *  # noqa: F403 - the tests that both databases run

pytestmark = pytest.mark.postgres
