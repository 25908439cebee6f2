"""What survives the driver: stored versions of states."""
