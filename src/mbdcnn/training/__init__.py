"""Training of the three networks through Lightning, the only place that imports it."""
