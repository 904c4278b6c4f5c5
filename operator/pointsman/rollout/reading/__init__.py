"""From Prometheus' answers to `rollout.evidence`: counts by window, never rates. Pure."""
