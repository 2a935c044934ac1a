"""`python -m frostline` is the command line."""

import sys

from frostline.cli.main import main

sys.exit(main())
