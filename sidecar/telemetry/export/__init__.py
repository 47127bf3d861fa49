"""What leaves the process: lines of the logs, written by a thread that nothing else waits for."""
