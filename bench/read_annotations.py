"""Reads training annotations as the reference's data module does: CPU seconds and peak memory.

Usage: python bench/read_annotations.py FILE
"""
import json
import resource
import sys
import time

start = time.process_time()
with open(sys.argv[1]) as file:
    rows = json.load(file)
numbers = {}
for row in rows:
    numbers.setdefault(row["image_id"], len(numbers))
seconds = time.process_time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{len(rows)} rows, {len(numbers)} images: {seconds:.2f} s CPU, peak {peak:.0f} MiB")
