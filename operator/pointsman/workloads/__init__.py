"""Deployments that the operator runs, and their pods: what they are made of, and what ails them. Pure."""
