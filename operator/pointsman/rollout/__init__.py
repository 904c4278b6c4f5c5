"""What a policy's rollout does next: observe, decide (pure), one action, one status write."""
