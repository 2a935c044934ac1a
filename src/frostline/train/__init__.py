"""Recipe in, outcome out: parameter groups, loop, solved heads, freeze audit, ledger, run_trial."""
