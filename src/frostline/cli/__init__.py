"""The command line: one thin file per verb (parse, call, draw). Importing it imports nothing heavy."""
