"""What goes wrong in a run: numbers that are not finite, memory, data workers, bad records."""
