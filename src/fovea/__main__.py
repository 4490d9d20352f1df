"""python -m fovea: the same as the command fovea."""

import sys

from fovea.commands.main import main

sys.exit(main())
