"""A real Kubernetes as local processes: controllers and fake nodes for tests, and a node that runs pods.

The API server comes from `lab.controlplane`; here is what makes objects move.
"""
