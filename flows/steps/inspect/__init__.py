"""What files hold, and what the machine has."""
