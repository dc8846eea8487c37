"""Files, YAML, progress, threads, processes and devices: the machine, and nothing of lesions."""
