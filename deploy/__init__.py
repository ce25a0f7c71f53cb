"""How the project is run: the operators' command, the local supervisor, the vendor simulator."""
