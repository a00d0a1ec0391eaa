"""What one server has and does: its core, the accept loop, admission control, the reaper, the drain."""
