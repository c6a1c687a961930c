"""What is played: notes and controllers, drawn or from music."""
