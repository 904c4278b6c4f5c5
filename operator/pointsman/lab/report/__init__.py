"""`pointsman lab report`: what a policy's rollouts were, as one page that needs nothing else."""
