"""penstock.yml: from text to the typed project, with every error at its line."""
