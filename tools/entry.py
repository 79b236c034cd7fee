"""The command `cutline`: imported in an instant, so that Ctrl-C during the rest of the imports is one line too."""

from __future__ import annotations

import sys

__all__ = ["INTERRUPTED", "main"]

INTERRUPTED = 130  # exit code after SIGINT, as shells count


def main() -> None:
    """Run the command line; the process ends here."""
    try:
        from cutline.tools.cli import main as run

        run()
    except KeyboardInterrupt:
        print("cutline: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
