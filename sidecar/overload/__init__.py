"""Level 5: what watches over the process as a whole: its memory, and whether its event loop turns."""
