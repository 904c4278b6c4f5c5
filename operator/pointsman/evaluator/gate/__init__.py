"""Gate runs: both revisions answer the gate's cases through Envoy, before any traffic moves.

case: cases as requests. run: asks them.
"""
