"""What runs the rooms in order: steps, schedule, report, command line."""
