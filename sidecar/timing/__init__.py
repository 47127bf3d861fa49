"""Time that passes: one coarse wheel for every deadline, idle time and back-off of the process."""
