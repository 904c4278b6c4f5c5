"""Certificates by which the parts know each other: an authority, leaves, and when they are renewed. Pure."""
