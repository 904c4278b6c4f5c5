"""Routers: learned from prompts, answers and verdicts; what is learned leaves as a bundle."""
