"""Structure: one paper per file and its tables; published.json holds the facts, catalogue.py finds and builds."""
