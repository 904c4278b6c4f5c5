"""Pools of managed Tritons: what they shall hold, what runs them, and how they are. Pure."""
