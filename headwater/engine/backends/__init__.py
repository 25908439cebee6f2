"""Where tasks run: the backends that the scheduler can speak to."""
