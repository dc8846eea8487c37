"""Scores of one mask and one classifier, statistics of many images and their intervals. NumPy in, numbers out."""
