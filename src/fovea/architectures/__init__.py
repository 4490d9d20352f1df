"""Structure: one paper per file and its tables; published/ holds the facts, by paper, catalogue.py finds and builds."""
