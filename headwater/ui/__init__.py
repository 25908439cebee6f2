"""What shows a user how the application is doing. Reads; nothing decides by it."""
