"""Plan, tuning, elimination, verdict. Pure: it is handed run(trials) -> outcomes and never touches a tensor."""
