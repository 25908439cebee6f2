"""`headwater migrate`: changes the imports of PySpark programs to ours, and says what in them won't work."""
