"""One reader for each layout of raw data."""
