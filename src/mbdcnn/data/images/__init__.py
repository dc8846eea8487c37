"""One safe decoder for every picture."""
