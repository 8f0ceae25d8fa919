"""What the daemon does for its node besides serving calls, and how its parts are put together (`assembly`)."""
