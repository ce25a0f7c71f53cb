"""Tools to run the project: the operators' command, the local supervisor, the vendor simulator."""
