"""What everything stands on: pickling, hashing, threads, encryption, log lines. Knows nothing of RDDs or streams."""
