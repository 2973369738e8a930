"""The loop, where the stages meet."""
