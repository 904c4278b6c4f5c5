"""Evidence from before any traffic: the same cases, answered by incumbent and candidate. Pure."""
