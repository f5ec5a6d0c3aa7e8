"""The contract all parts share: errors, names, types, items, specs and the ports of a connector."""
