"""Policies and their status, resolved into what shall be served (Envoy Gateway calls this its IR). Pure."""
