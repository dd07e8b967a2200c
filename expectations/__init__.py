"""The two gates where Great Expectations judges a set: a load before it is seen, a mart before it is published."""
