"""What each command does; the heavy rooms are imported here, one command at a time."""
