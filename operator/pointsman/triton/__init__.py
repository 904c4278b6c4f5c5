"""Triton: bundles, the model repository entries made of them, and the client."""
