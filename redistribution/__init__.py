"""Ways out: what readers see of the marts."""
