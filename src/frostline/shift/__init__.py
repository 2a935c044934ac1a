"""How two data sets differ, as a network sees them: tests, estimates, and the name of the situation."""
