"""What outputs write batches to: directories of files, databases, whatever a program brings."""
