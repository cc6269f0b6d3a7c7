"""How fast this machine draws: what ``sdgen bench`` measures and prints."""
