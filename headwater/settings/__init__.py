"""The settings of applications: which there are, and how they are read. Knows errors only."""
