"""What do the numbers look like? One function per figure; each takes what the tables take and returns a drawing."""
