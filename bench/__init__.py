"""Measurements, never tests: ratios against a peer or a limit, side by side in one run."""
