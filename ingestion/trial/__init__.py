"""The trial of a source that no brick describes yet: what it is, what it offers, what its columns hold, what a brick of it would say."""
