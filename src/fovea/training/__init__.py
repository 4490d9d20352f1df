"""Numbers to weights: the loop, recipes, losses, optimisers, schedules, checkpoints, run folders."""
