"""Streams without parents: queues, files, and receivers that fetch from outside."""
