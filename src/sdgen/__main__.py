"""``sdgen`` and ``python -m sdgen``."""

from __future__ import annotations

import contextlib
import os
import sys

from sdgen.errors import ExitCode


def main() -> None:
    """Run the command on ``sys.argv`` and exit with its status."""
    try:
        from sdgen.backend import take_shortcuts
        from sdgen.cli.root import root
        from sdgen.cli.terminal.streams import open_closed_descriptors
    except KeyboardInterrupt:  # From here on, root.main and Session see to signals.
        sys.exit(ExitCode.INTERRUPTED)
    open_closed_descriptors()
    take_shortcuts()
    try:
        root.main(prog_name="sdgen")
    except SystemExit as end:
        # The frameworks take two seconds to take themselves apart, and everything of ours is on the disk.
        if "keras" in sys.modules and isinstance(end.code, int):
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            os._exit(end.code)
        raise


if __name__ == "__main__":
    main()
