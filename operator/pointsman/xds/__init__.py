"""What Envoys are told: translation of plans, and the server that tells them."""
