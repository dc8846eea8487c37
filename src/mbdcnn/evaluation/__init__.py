"""Scoring predictions and writing the report."""
