"""Things to run and look at; nothing in ``sidecar`` knows of them."""
