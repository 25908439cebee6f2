"""Formats of files: text, pickle files, Hadoop's SequenceFile and Writables. Bytes and paths only: no RDDs."""
