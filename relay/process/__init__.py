"""What a process knows of itself and the machine: its clock, its locks, Ctrl-Z."""
