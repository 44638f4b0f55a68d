"""Act: manifest, inference, decision, risk, orders, terminal, journal."""
