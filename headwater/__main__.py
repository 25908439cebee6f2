"""`python -m headwater`: the command line."""

from headwater.deploy.cli import main

raise SystemExit(main())
