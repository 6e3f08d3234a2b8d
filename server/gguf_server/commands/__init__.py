"""The verbs about models, as a terminal or a script sees them: fetch, ls, info, clean."""
