-- purpose: their room is empty, and does not go back to the disk
VACUUM practice.swollen;
