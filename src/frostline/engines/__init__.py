"""Where trials run: on this machine. An engine is a function run(trials) -> outcomes."""
