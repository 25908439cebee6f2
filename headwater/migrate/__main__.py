"""`python -m headwater.migrate`: the same as `headwater migrate`."""

import sys

from headwater.deploy.cli import main

raise SystemExit(main(["migrate", *sys.argv[1:]]))
