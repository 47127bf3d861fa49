"""Level 7: ``python -m sidecar`` is the command ``sidecar``."""

from sidecar.cli.main import main

if __name__ == "__main__":
    main(prog_name="sidecar")
