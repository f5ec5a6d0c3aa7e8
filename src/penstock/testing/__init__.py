"""For authors of connectors: conformance suite, memory connector, fault injection, fake clock."""
