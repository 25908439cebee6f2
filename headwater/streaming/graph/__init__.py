"""The nodes of the stream graph, one file a family."""
