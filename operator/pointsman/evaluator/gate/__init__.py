"""Gate runs: both revisions answer the gate's cases through Envoy, before any traffic moves.

Pure: case. I/O: run.
"""
