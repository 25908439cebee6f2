"""What runs a started StreamingContext: batches, output jobs, receivers."""
