"""What starts programs: the command line and its demo."""
