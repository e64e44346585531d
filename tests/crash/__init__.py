"""The crash suite: a loop that goes through kills, zombies and cuts gives the result of an undisturbed run."""
