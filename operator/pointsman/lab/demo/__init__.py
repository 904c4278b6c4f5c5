"""`pointsman demo`: recorded real traffic through the lab, and what the routing was worth."""
