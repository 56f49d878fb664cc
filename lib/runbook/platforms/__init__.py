"""What runs a target: its files and servers, behind one Protocol."""
