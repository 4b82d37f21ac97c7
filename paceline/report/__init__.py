"""What probes saw, for people: roles of heads, advice, tables, a terminal summary and one page of HTML."""
