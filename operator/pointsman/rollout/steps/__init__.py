"""What each step of a rollout looks at: one file a step. Pure."""
