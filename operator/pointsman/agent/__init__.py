"""The agent beside a managed Triton: pulls models, loads them through localhost, gates readiness."""
