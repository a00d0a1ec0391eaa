"""What Python and the system are asked for, so that it works among threads, fibers and forks alike."""
