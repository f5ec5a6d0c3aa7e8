"""A project of hygge, Penstock's predecessor, read and written anew as a penstock.yml that does what its author meant."""
