"""Where trials run: this machine (later a cluster). An engine is a function run(trials) -> outcomes."""
