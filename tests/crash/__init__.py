"""The crash suite: a loop through kills, zombies and cuts comes out as if nothing had happened."""
