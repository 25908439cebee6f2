"""The engine: lineage, stages, tasks, blocks and executors; it knows nothing of streams."""
