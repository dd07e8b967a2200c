"""Rooms where data comes in: bricks, connectors, landing, journal."""
