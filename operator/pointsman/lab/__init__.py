"""The lab: every server real, as local processes. Its launchers serve tests, the demo and the bench too."""
