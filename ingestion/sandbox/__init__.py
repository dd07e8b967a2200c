"""Plays a synthetic territory, in the bricks' own protocols, so that a fresh clone works anywhere."""
