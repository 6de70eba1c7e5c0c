"""What a grid file may say, told to editors."""
