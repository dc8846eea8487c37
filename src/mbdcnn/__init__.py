"""MB-DCNN: outline a skin lesion and classify it, by three networks that teach each other.

For research and education. Not a medical device.
"""

__version__ = "0.1.0"
