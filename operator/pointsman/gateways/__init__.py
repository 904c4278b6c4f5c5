"""RoutingGateways: what runs their Envoys, and how they are. Pure."""
