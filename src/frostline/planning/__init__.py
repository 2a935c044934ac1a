"""What will run here, and what it costs."""
